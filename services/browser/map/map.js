// The map of a catalog: a slider over its years, two of them side by side, what stands under the cursor.
// It asks nothing but the server that it comes from.
import * as maplibre from "./maplibre/maplibre-gl.mjs";

maplibre.setWorkerUrl(new URL("./maplibre/maplibre-gl-worker.mjs", import.meta.url).href);

const api = new URL("..", document.baseURI).href;
const LEAST_ZOOM = 6;
const RAMPS = {
  confidence: ["#440154, #3b528b, #21918c, #5ec962, #fde725", "0 %", "100 %"],
  observations: ["#0d0887, #7e03a8, #cc4778, #f89540, #f0f921", "0", "40"],
};
const $ = (id) => document.getElementById(id);
const ask = async (path) => {
  const answer = await fetch(new URL(path, api));
  if (!answer.ok) throw new Error((await answer.json()).description ?? answer.statusText);
  return answer.json();
};

const graticule = {
  type: "FeatureCollection",
  features: [
    ...Array.from({ length: 73 }, (_, n) => [[n * 5 - 180, -85], [n * 5 - 180, 85]]),
    ...Array.from({ length: 35 }, (_, n) => [[-180, n * 5 - 85], [180, n * 5 - 85]]),
  ].map((coordinates) => ({ type: "Feature", properties: {}, geometry: { type: "LineString", coordinates } })),
};

function newMap(container, hash) {
  const map = new maplibre.Map({
    container,
    hash,
    style: {
      version: 8,
      sources: { graticule: { type: "geojson", data: graticule } },
      layers: [
        { id: "ground", type: "background", paint: { "background-color": "#eef1f3" } },
        { id: "graticule", type: "line", source: "graticule", paint: { "line-color": "#d3dae0" } },
      ],
    },
    attributionControl: { customAttribution: "Landloom. Contains modified Copernicus Sentinel data" },
    dragRotate: false,
    pitchWithRotate: false,
    maxZoom: 17,
  });
  // Not its `load`, which waits until all else is drawn.
  map.ready = new Promise((resolve) => map.once("style.load", resolve));
  return map;
}

const placed = location.hash.includes("view=");  // By whoever gave the address; the map writes it there, too.
let collection, years, right;
const left = newMap("left", "view");
left.addControl(new maplibre.NavigationControl({ showCompass: false }), "bottom-right");
left.addControl(new maplibre.ScaleControl(), "bottom-right");

const tiles = (year) =>
  new URL(`tiles/${collection.id}/years/${year}/`, api).href + `{z}/{x}/{y}.png?asset=${$("asset").value}`;

async function draw(map, year) {
  await map.ready;
  const source = map.getSource("maps");
  if (source) return source.setTiles([tiles(year)]);
  map.addSource("maps", {
    type: "raster", tiles: [tiles(year)], tileSize: 256, minzoom: LEAST_ZOOM, maxzoom: 14,
    bounds: collection.extent.spatial.bbox[0],
  });
  // Classes are not mixed: near pixels are drawn as they are.
  const paint = { "raster-resampling": "nearest", "raster-fade-duration": 0 };
  map.addLayer({ id: "maps", type: "raster", source: "maps", paint });
}

function redraw() {
  $("year-told").value = $("year").value;
  draw(left, $("year").value);
  if (right) draw(right, $("other").value);
  legend();
}

function legend() {
  const asset = $("asset").value;
  const classes = collection.item_assets?.data?.["classification:classes"] ?? [];
  const line = (colour, text) => {
    const item = document.createElement("li");
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.background = colour;
    item.append(swatch, text);
    return item;
  };
  if (asset === "data") {
    const named = classes.filter((one) => one.color_hint && !one.nodata);
    $("legend").replaceChildren(...named.map((one) => line(`#${one.color_hint}`, one.title ?? one.name)));
  } else {
    const [colours, low, high] = RAMPS[asset];
    const item = document.createElement("li");
    const ramp = Object.assign(document.createElement("span"), { className: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${colours})`;
    item.append(low, ramp, high);
    $("legend").replaceChildren(item);
  }
}

// Two years: the right map lies over the left one, cut off at the divider.
function cut(share) {
  const at = Math.min(Math.max(share, 0.02), 0.98) * 100;
  $("divider").style.left = `${at}%`;
  $("divider").setAttribute("aria-valuenow", Math.round(at));
  $("right").style.clipPath = `inset(0 0 0 ${at}%)`;
}

function compare() {
  const year = $("other").value;
  $("right").hidden = $("divider").hidden = !year;
  if (!year) {
    right?.remove();
    right = undefined;
    return;
  }
  if (!right) {
    right = newMap("right", false);
    let following = false;
    const follow = (from, to) => () => {
      if (following) return;
      following = true;
      to.jumpTo({ center: from.getCenter(), zoom: from.getZoom() });
      following = false;
    };
    const there = right;
    follow(left, there)();
    left.on("move", () => right === there && follow(left, there)());
    there.on("move", follow(there, left));
    there.on("mousemove", pointed);
    cut(0.5);
  }
  draw(right, year);
}

$("divider").addEventListener("pointerdown", (event) => {
  const drag = (moved) => cut(moved.clientX / window.innerWidth);
  $("divider").setPointerCapture(event.pointerId);
  $("divider").addEventListener("pointermove", drag);
  $("divider").addEventListener("pointerup", () => $("divider").removeEventListener("pointermove", drag), { once: true });
});
$("divider").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -0.05, ArrowRight: 0.05 }[event.key];
  if (step) cut(parseFloat($("divider").style.left) / 100 + step);
});

// What stands under the cursor: asked once it rests, and only the last answer counts.
let asked = 0, resting;
function pointed(event) {
  clearTimeout(resting);
  resting = setTimeout(() => tell(event.lngLat.wrap()), 120);
}

async function tell({ lng, lat }) {
  const mine = ++asked;
  const shown = right ? [$("year").value, $("other").value] : [$("year").value];
  try {
    const at = `lon=${lng.toFixed(6)}&lat=${lat.toFixed(6)}`;
    const told = await Promise.all(shown.map((year) => ask(`tiles/${collection.id}/years/${year}/point?${at}`)));
    const items = await Promise.all(
      told.map((one) => one.item && ask(`collections/${collection.id}/items/${one.item}`)),
    );
    if (mine === asked) $("here").replaceChildren(...told.map((one, n) => told_of(shown[n], one, items[n])));
  } catch (error) {
    if (mine === asked) $("here").textContent = error.message;
  }
}

function told_of(year, { class: found, confidence, observations }, item) {
  const table = document.createElement("table");
  const row = (name, ...content) => {
    const line = table.insertRow();
    line.insertCell().textContent = name;
    line.insertCell().append(...content);
  };
  row(year, found ? found.title : "not mapped");
  if (found) {
    if (confidence !== null) row("Confidence", `${confidence} %`);
    if (observations !== null) row("Clear looks", observations);
    const link = (href, text) => Object.assign(document.createElement("a"), { href, textContent: text, target: "_blank" });
    row("Map", link(item.links.find((one) => one.rel === "self").href, item.id), ", ", link(item.assets.data.href, "COG"));
  }
  return table;
}

async function show(chosen) {
  collection = chosen;
  $("title").textContent = chosen.title ?? chosen.id;
  const [first, last] = chosen.extent.temporal.interval[0].map((moment) => Number(moment.slice(0, 4)));
  years = Array.from({ length: last - first + 1 }, (_, n) => first + n);
  Object.assign($("year"), { min: first, max: last });
  $("year").value = last;
  $("year").disabled = first === last;
  const options = years.map((year) => new Option(year, year));
  $("other").replaceChildren(new Option("nothing", ""), ...options);
  if (left.getLayer("maps")) {
    left.removeLayer("maps");
    left.removeSource("maps");
  }
  compare();
  if (!placed) {
    // All of it where that can be seen; else the newest map.
    const camera = left.cameraForBounds(chosen.extent.spatial.bbox[0], { padding: 40 });
    if (camera?.zoom >= LEAST_ZOOM) left.jumpTo(camera);
    else {
      const newest = (await ask(`search?collections=${chosen.id}&limit=1&fields=bbox`)).features[0];
      if (newest) left.fitBounds(newest.bbox, { padding: 40, animate: false });
    }
  }
  redraw();
}

left.on("mousemove", pointed);
left.on("zoom", () => {
  $("note").textContent = left.getZoom() < LEAST_ZOOM ? "Zoom in to see the maps." : "";
});
$("year").addEventListener("input", redraw);
$("asset").addEventListener("change", redraw);
$("other").addEventListener("change", compare);

try {
  const found = (await ask("collections")).collections.filter((one) => one.item_assets?.data);
  if (!found.length) throw new Error("This catalog holds no maps.");
  // Those with the most to see come first: maps by tile before maps by grid zone, which have the classes alone.
  const layers = (one) => Object.keys(one.item_assets).length;
  found.sort((one, other) => layers(other) - layers(one));
  $("collection").replaceChildren(...found.map((one) => new Option(one.title ?? one.id, one.id)));
  $("collection").hidden = found.length === 1;
  $("collection").addEventListener("change", () => show(found.find((one) => one.id === $("collection").value)));
  await show(found[0]);
} catch (error) {
  $("note").textContent = error.message;
}
