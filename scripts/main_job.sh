#!/usr/bin/env bash
# The main job: takes the embedded model from 512 to 4096 tokens with LongLoRA and
# shows, on novels it never saw, what that is worth. quickstart.sh calls it.
#
#   scripts/main_job.sh [DEVICE]   auto by default; what longlora's --device takes
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly LONGLORA="$REPO/build/release/longlora"
readonly BASE="$REPO/models/tiny-novels"
readonly OUT="$REPO/quickstart-out"
readonly WINDOW=4096 BASE_WINDOW=512
readonly DEVICE=${1:-auto}

if [[ ! -f $BASE/model.safetensors ]]; then
  die "[main job] expected $BASE/model.safetensors, found nothing; models/tiny-novels/make.py makes it"
fi
mkdir -p "$OUT"

# tune NAME FLAG...: a LongLoRA run on the embedded model into $OUT/NAME.
tune() {
  local name=$1
  shift
  "$LONGLORA" fine-tune --model_name_or_path "$BASE" --output_dir "$OUT/$name" --overwrite_output_dir True \
    --learning_rate 8e-4 --lr_scheduler_type cosine --warmup_steps 10 --adam_beta2 0.95 --shuffle False \
    --save_steps 0 --rope_scaling yarn --device "$DEVICE" "$@"
}

# measure LABEL NAME FLAG...: perplexity and passkey retrieval of one model into $OUT.
measure() {
  local label=$1 name=$2
  shift 2
  "$LONGLORA" eval --base_model "$BASE" --data_path "$OUT/heldout.bin" --window same-targets --max_windows 32 \
    --seq_len 512 1024 2048 4096 --context_size "$WINDOW" --dtype bfloat16 --device "$DEVICE" --label "$label" \
    --json "$OUT/eval-$name.json" "$@" &&
    "$LONGLORA" passkey --base_model "$BASE" --context_size "$WINDOW" --lengths 512,1024,2048,3072,3840 --dtype bfloat16 \
      --device "$DEVICE" --label "$label" --json "$OUT/passkey-$name.json" "$@"
}

write_report() {
  local inputs=() name
  for name in base linear yarn longlora control; do
    inputs+=("$OUT/eval-$name.json" "$OUT/passkey-$name.json")
  done
  "$LONGLORA" report "${inputs[@]}" "LongLoRA=$OUT/longlora" "control at $BASE_WINDOW=$OUT/control" \
    --title "tiny-novels: from $BASE_WINDOW to $WINDOW tokens" --command ./quickstart.sh \
    --output "$OUT/report.html" --json "$OUT/results.json"
}

step "Held-out novels to tokens" "$LONGLORA" tokenize --tokenizer "$BASE" --output "$OUT/heldout.bin" \
  --input "$BASE/data/heldout-wuthering-heights.txt" "$BASE/data/heldout-dorian-gray.txt"
# The rows are in order: short documents for sparse attention first, then long ones for full attention.
step "Extend to $WINDOW tokens with S2-Attn and LoRA+" tune longlora --data_path "$BASE/data/extend-4096.bin" \
  --model_max_length "$WINDOW" --per_device_train_batch_size 2 --max_steps 100 --full_attention_steps 40
step "Control: as many tokens in rows of $BASE_WINDOW" tune control --data_path "$BASE/data/extend-512.bin" \
  --model_max_length "$BASE_WINDOW" --per_device_train_batch_size 16 --max_steps 100 --attention full
step "Measure the base" measure "base" base --rope_scaling none
step "Measure linear scaling, no training" measure "linear scaling alone" linear --rope_scaling linear
step "Measure YaRN scaling, no training" measure "YaRN alone" yarn --rope_scaling yarn
step "Measure LongLoRA" measure "LongLoRA" longlora --peft_model "$OUT/longlora"
step "Measure the control" measure "control at $BASE_WINDOW" control --peft_model "$OUT/control" --rope_scaling none
step "Report" write_report
sed -n '/./p' "$REPO/build/logs/report.log"
echo "The proof: ${OUT#"$REPO"/}/report.html and results.json"
