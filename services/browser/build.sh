#!/usr/bin/env bash
# Builds the pages' npm packages into built/: MapLibre as it comes, STAC Browser from its sources (a minute and a half).
set -euo pipefail
cd "$(dirname "$0")"
command -v npm > /dev/null || { echo "make browser needs Node.js with npm (Debian: apt-get install nodejs npm)." >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp package.json "$work"
(cd "$work" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error)

rm -rf built && mkdir -p built/maplibre
cp "$work"/node_modules/maplibre-gl/dist/maplibre-gl{.mjs,-worker.mjs,-shared.mjs,.css} "$work"/node_modules/maplibre-gl/LICENSE.txt \
  built/maplibre

cp -r "$work/node_modules/@radiantearth/stac-browser" "$work/browser"
cp stac/basemaps.config.js "$work/browser"
cd "$work/browser"
npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error
# The build wants this version, which the package does not name.
npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error ol-stac@1.1.0
# Relative addresses, so that a proxy may show the server under any path.
npm run build:minimal -- --pathPrefix="./"
cd - > /dev/null
cp -r "$work/browser/dist" built/stac
cp stac/config.js built/stac
sed -i 's#<head>#<head><link rel="icon" href="data:,"><script src="config.js"></script>#' built/stac/index.html
touch built/done
