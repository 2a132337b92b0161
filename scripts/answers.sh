# Sourced after common.sh: questions about novels, teaching a model to answer them, and counting right answers.
# shellcheck shell=bash

readonly MAKE_QUESTIONS="$REPO/scripts/long_instructions.awk"

# questions SETTING... NOVEL...: writes questions about the novels as JSON lines. Settings are those of
# long_instructions.awk: count=300 seed=1 min_words=40 max_words=2000 dialogues=1.
questions() {
  local settings=()
  while [[ ${1:-} == *=* && ! -e $1 ]]; do
    settings+=(-v "$1")
    shift
  done
  awk "${settings[@]}" -f "$MAKE_QUESTIONS" "$@"
}

# teach MODEL OUTPUT FLAG...: trains the adapter OUTPUT on answers, with pairs on all linear layers. It goes on where
# it was interrupted.
teach() {
  local model=$1 output=$2
  shift 2
  "$LONGLORA" sft --model_name_or_path "$model" --output_dir "$output" --attention full \
    --lora_target_modules all-linear --lr_scheduler_type cosine --adam_beta2 0.95 --num_train_epochs 1 \
    --save_total_limit 1 --resume True "$@"
}

# answer MODEL QUESTIONS LABEL OUTPUT FLAG...: right answers into the JSON file OUTPUT.
answer() {
  local model=$1 data=$2 label=$3 output=$4
  shift 4
  "$LONGLORA" answer --base_model "$model" --data_path "$data" --dtype bfloat16 --label "$label" --json "$output" "$@"
}
