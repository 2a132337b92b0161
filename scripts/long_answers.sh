#!/usr/bin/env bash
# Teaches the quickstart's extended model to answer questions about long texts, and counts right answers about
# novels that nothing was trained on. What it reached is in docs/sft.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly LONGLORA="$REPO/build/release/longlora"
readonly BASE="$REPO/models/tiny-novels"
readonly EXTENDED="$REPO/quickstart-out/longlora"
readonly OUT="$REPO/quickstart-out/answers"
readonly MAKE_QUESTIONS="$REPO/scripts/long_instructions.awk"

usage() {
  cat <<'TEXT'
Usage: scripts/long_answers.sh

Needs what ./quickstart.sh leaves: the program and quickstart-out/longlora. Makes questions out of the embedded
novels (a fact to find, a sentence to copy, which of two came first), trains on those about the training novels
(sft, in bfloat16 and with weights in four bits), and answers those about the held-out novels without and with it:
quickstart-out/answers/*.json. Takes about 20 minutes on one core; a training that was interrupted goes on where it was.
TEXT
}

case "${1:-}" in
  '') ;;
  --help | -h) usage && exit 0 ;;
  *) usage_error "unknown option '$1'" ;;
esac
if [[ ! -x $LONGLORA || ! -f $EXTENDED/adapter_model.safetensors ]]; then
  die "[long answers] expected build/release/longlora and quickstart-out/longlora, found less; run ./quickstart.sh first"
fi
mkdir -p "$OUT"

# The novels that the extension was trained on lie in the repository as ids.
make_questions() {
  rm -f "$OUT/training-novels.txt" # a text of its own tokenize does not know, and does not replace
  "$LONGLORA" tokenize --tokenizer "$BASE" --decode --skip_special_tokens False \
    --input "$BASE/data/extend-4096.bin" --output "$OUT/training-novels.txt" &&
    {
      awk -v count=1700 -v seed=1 -v max_words=350 -v dialogues=1 -f "$MAKE_QUESTIONS" "$OUT/training-novels.txt" &&
        awk -v count=300 -v seed=2 -v min_words=350 -v dialogues=1 -f "$MAKE_QUESTIONS" "$OUT/training-novels.txt"
    } >"$OUT/train.jsonl" &&
    awk -v count=300 -v seed=3 -f "$MAKE_QUESTIONS" "$BASE"/data/heldout-*.txt >"$OUT/heldout.jsonl"
}

merge_extension() {
  "$LONGLORA" merge --base_model "$BASE" --peft_model "$EXTENDED" --save_path "$OUT/extended" --dtype float32 --overwrite True
}

# teach NAME FLAG...: trains the adapter $OUT/NAME.
teach() {
  local name=$1
  shift
  "$LONGLORA" sft --model_name_or_path "$OUT/extended" --output_dir "$OUT/$name" --data_path "$OUT/train.jsonl" \
    --model_max_length 4096 --attention full --lora_r 32 --lora_alpha 64 --lora_target_modules all-linear \
    --learning_rate 1.5e-3 --lr_scheduler_type cosine --warmup_steps 20 --adam_beta2 0.95 --num_train_epochs 1 \
    --save_steps 50 --save_total_limit 1 --resume True "$@"
}

# show LOG: the table that an examination ended with.
show() {
  sed -n '/exact$/,$p' "$REPO/build/logs/$1.log"
}

# answer NAME FLAG...: right answers about the held-out novels into $OUT/NAME.json.
answer() {
  local name=$1
  shift
  "$LONGLORA" answer --base_model "$OUT/extended" --data_path "$OUT/heldout.jsonl" --dtype bfloat16 --label "$name" \
    --json "$OUT/$name.json" "$@"
}

step "Questions about the novels" make_questions
step "Merge the extended model" merge_extension
step "Answers without teaching" answer before
step "Teach it to answer" teach sft
step "Answers" answer after --peft_model "$OUT/sft"
step "Teach it in four bits" teach sft-nf4 --quantize nf4
step "Answers in four bits" answer after-nf4 --peft_model "$OUT/sft-nf4" --quantize nf4
show answers
show answers-in-four-bits
