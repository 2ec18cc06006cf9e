// STAC Browser over the API that serves it, with the legend's colours drawn by that API's map tiles.
window.STAC_BROWSER_CONFIG = {
  catalogUrl: new URL("..", document.baseURI).href,
  catalogTitle: "Landloom",
  allowExternalAccess: false,
  historyMode: "hash",
  socialSharing: [],
  // Thumbnails of change are diagrams, which do not lie on the ground.
  displayPreview: false,
  buildTileUrlTemplate: (asset) => {
    const item = asset.getContext();
    const name = asset.getKey();
    if (!item?.collection || !["data", "confidence", "observations", "transition", "persistence"].includes(name)) return null;
    const tiles = new URL(`../tiles/${item.collection}/items/${item.id}/`, document.baseURI).href;
    return `${tiles}{z}/{x}/{y}.png?asset=${name}`;
  },
};
