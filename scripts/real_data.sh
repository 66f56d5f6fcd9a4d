#!/usr/bin/env bash
# Prepare, index and evaluate the real tissue beside the checkout, and write the first table of docs/results.md.
# Everything else lands in real/, which is ignored: pictures of real tissue are looked at, never committed.
#   scripts/real_data.sh          checks that everything runs
#   scripts/real_data.sh --write  also writes docs/results.md
set -euo pipefail
cd "$(dirname "$0")/.."

DATA=${HISTOSEEK_DATA:-../shared/data}
if [ ! -d "$DATA" ]; then
  echo "no real data at $DATA: skipped"
  exit 0
fi
PATH="$PWD/.venv/bin:$PATH"
OUT=real
rm -rf "$OUT" && mkdir -p "$OUT"

echo "-- atlas: labels from slides, groups are cases"
histoseek prepare csv "$DATA/atlas/tiles.csv" --out "$OUT/atlas.parquet" -o columns=label=organ,group=case
histoseek index "$OUT/atlas.parquet" --encoder color --where "stain = 'H&E'" --out "$OUT/atlas.index"
histoseek search "$OUT/atlas.index" --item "$(histoseek info "$OUT/atlas.index" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["first id"])')" \
  --per-group 2 --sheet "$OUT/atlas_hits.png"

# The ten organs with three or more labelled cases, each scale on its own: mixing scales is another question.
ORGANS="label IN ('colon', 'stomach', 'small intestine', 'pancreas', 'liver', 'brain', 'soft tissue', 'skin', 'gallbladder', 'adrenal gland')"
for scale in 20x 5x; do
  histoseek evaluate "$OUT/atlas.index" --where "$ORGANS AND scale = '$scale'" --gallery "$ORGANS AND scale = '$scale'" \
    --out "$OUT/atlas_${scale}"
  histoseek compare "$OUT/atlas_${scale}" --out "$OUT/atlas_${scale}.md" >/dev/null
done

echo "-- BACH sample: as BACH it is a repack without patients; to be measured at all, every photo is its own group"
histoseek prepare bach "$DATA/bach_sample" --out "$OUT/bach_official.parquet"
histoseek prepare folder "$DATA/bach_sample/Photos" --mpp 0.42 --out "$OUT/bach.parquet"
histoseek index "$OUT/bach.parquet" --encoder color --out "$OUT/bach.index"
histoseek evaluate "$OUT/bach.index" --out "$OUT/bach"
histoseek compare "$OUT/bach" --out "$OUT/bach.md" >/dev/null

if [ "${1:-}" = --write ]; then
  python3 scripts/results_page.py "$OUT" docs/results.md
fi
echo "real data: done; look at $OUT/atlas_hits.png and $OUT/*/report.html"
