#!/bin/sh
# The verbs of the quickstart and what follows it, in the smallest form: PROGRAM MODEL. Runs in bare systems, in an empty
# folder.
set -eu
longlora=$1 model=$2
"$longlora" --version
head -c 60000 "$model/data/heldout-wuthering-heights.txt" >novel.txt
"$longlora" tokenize --tokenizer "$model" --input novel.txt --output novel.bin
"$longlora" fine-tune --model_name_or_path "$model" --data_path "$model/data/extend-4096.bin" --output_dir run \
  --model_max_length 1024 --rope_scaling yarn --max_steps 2 --warmup_steps 0 --shuffle False --save_steps 0
"$longlora" eval --base_model "$model" --peft_model run --data_path novel.bin --seq_len 512 1024 --context_size 1024 \
  --max_windows 2 --json eval.json
"$longlora" passkey --base_model "$model" --peft_model run --context_size 1024 --lengths 512 --num_tests 1 --json passkey.json
"$longlora" merge --base_model "$model" --peft_model run --context_size 1024 --save_path merged
"$longlora" inference --base_model merged --question "Who is Heathcliff?" --max_gen_len 8 --json answer.json
"$longlora" report run eval.json passkey.json --output report.html
test -s report.html && test -s merged/model.safetensors && test -s answer.json
