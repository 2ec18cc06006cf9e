// No foreign basemap: the pages ask nothing but the server that they come from.
export default () => [];
