#!/usr/bin/env bash
# Prepare, index, search and evaluate the real tissue beside the checkout, as a check that everything runs on it.
# Everything lands in real/, which is ignored: pictures of real tissue are looked at, never committed.
# The tables of docs/results.md are made by recipes/mini/results.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

DATA=${HISTOSEEK_DATA:-../shared/data}
if [ ! -d "$DATA" ]; then
  echo "no real data at $DATA: skipped"
  exit 0
fi
PATH="$PWD/.venv/bin:$PATH"
OUT=real/check
rm -rf "$OUT" && mkdir -p "$OUT"

echo "-- atlas: labels from slides, groups are cases"
histoseek prepare csv "$DATA/atlas/tiles.csv" --out "$OUT/atlas.parquet" -o columns=label=organ,group=case
# The ten organs with three or more labelled cases, each scale on its own: mixing scales is another question.
ORGANS="label IN ('colon', 'stomach', 'small intestine', 'pancreas', 'liver', 'brain', 'soft tissue', 'skin', 'gallbladder', 'adrenal gland')"
histoseek index "$OUT/atlas.parquet" --encoder color --where "stain = 'H&E' AND $ORGANS" --out "$OUT/atlas.index"
histoseek search "$OUT/atlas.index" --item "$(histoseek info "$OUT/atlas.index" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["first id"])')" \
  --per-group 2 --sheet "$OUT/atlas_hits.png"
for scale in 20x 5x; do
  histoseek evaluate "$OUT/atlas.index" --where "scale = '$scale'" --gallery "scale = '$scale'" --out "$OUT/atlas_${scale}"
done

echo "-- mini: the atlas at 5x, by words; and the cases that it never saw are those of the rule"
python3 recipes/mini/split.py --data "$DATA"
histoseek index "$OUT/atlas.parquet" --where "stain = 'H&E' AND $ORGANS AND scale = '5x'" --out "$OUT/atlas_mini.index"
histoseek search "$OUT/atlas_mini.index" --text "liver" --per-group 2 --sheet "$OUT/atlas_words.png"

echo "-- whole slides: two with a scale and one without, which is told and then stated"
histoseek phi-scan "$DATA/wsi" || test $? -eq 1
histoseek prepare slides "$DATA/wsi" --out "$OUT/wsi.parquet" -o label=none --preview || test $? -eq 1
grep -q "tubular-adenoma-flat_no-mpp.tif states no usable resolution" "$OUT/skipped.csv"
mkdir -p "$OUT/stated"
histoseek prepare slides "$DATA/wsi" --out "$OUT/stated/wsi.parquet" -o label=none --mpp 0.5
histoseek index "$OUT/wsi.parquet" --out "$OUT/wsi.index"
BREAST=breast-lobular-carcinoma_mpp1.01
histoseek search "$OUT/wsi.index" --region "$DATA/wsi/$BREAST.tif:3000,1500,300,300um" --sheet "$OUT/region_hits.png" --geojson "$OUT/qupath"
histoseek search "$OUT/wsi.index" --text "carcinoma of the breast" -k 20 --geojson "$OUT/qupath"
histoseek search "$OUT/wsi.index" --slide "$BREAST" --sheet "$OUT/pairs.png"
histoseek heat "$OUT/wsi.index" "$BREAST" --text "carcinoma of the breast" --out "$OUT/heat.png"
histoseek heat "$OUT/wsi.index" "$BREAST" --text "carcinoma of the breast" --out "$OUT/heat.tif"
histoseek evaluate "$OUT/atlas_mini.index" --level case --out "$OUT/atlas_cases"

echo "-- BACH sample: as BACH it is a repack without patients; to be measured at all, every photo is its own group"
histoseek prepare bach "$DATA/bach_sample" --out "$OUT/bach_official.parquet"
histoseek prepare folder "$DATA/bach_sample/Photos" --mpp 0.42 --out "$OUT/bach.parquet"
for encoder in color mini; do
  histoseek index "$OUT/bach.parquet" --encoder "$encoder" --out "$OUT/bach_$encoder.index"
  histoseek evaluate "$OUT/bach_$encoder.index" --out "$OUT/bach_$encoder"
done
histoseek compare "$OUT/bach_color" "$OUT/bach_mini" --out "$OUT/bach.md" >/dev/null
echo "real data: done; look at $OUT/atlas_hits.png, $OUT/atlas_words.png, $OUT/heat.png, $OUT/pairs.png, $OUT/wsi.slides and $OUT/*/report.html"
