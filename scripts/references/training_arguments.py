"""The fields of transformers' TrainingArguments: a new one has to get its place in longlora's table of flags."""

import dataclasses

import transformers

from scripts.references.common import GOLDENS, save_json

# What TrainingArguments had in transformers 4.34, of the time of LongLoRA's released scripts, or later, and has no more.
OLDER = """
adafactor dispatch_batches evaluation_strategy fp16_backend fp16_opt_level fsdp_min_num_params
fsdp_transformer_layer_cls_to_wrap group_by_length half_precision_backend include_inputs_for_metrics
include_tokens_per_second jit_mode_eval logging_dir mp_parameters no_cuda overwrite_output_dir past_index
per_gpu_eval_batch_size per_gpu_train_batch_size push_to_hub_model_id push_to_hub_organization push_to_hub_token
ray_scope save_safetensors sharded_ddp split_batches torchdynamo tp_size tpu_metrics_debug tpu_num_cores use_ipex
use_legacy_prediction_loop use_mps_device warmup_ratio xpu_backend
""".split()


def main():
    fields = [field.name for field in dataclasses.fields(transformers.TrainingArguments) if field.init]
    save_json(GOLDENS / "training_arguments.json",
              dict(transformers=transformers.__version__, fields=fields,
                   older=[name for name in OLDER if name not in fields]))


if __name__ == "__main__":
    main()
