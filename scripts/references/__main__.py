"""Makes every golden again: python -m scripts.references [name …]"""

import importlib
import sys

# In this order: later ones read the models of earlier ones.
NAMES = ["tensor_file", "torch_files", "tiny_models", "s2_attention", "rotary", "passkey_prompts", "stories",
         "training_curves", "epoch_updates", "peft_adapter", "peft_variants", "nf4_adapter", "nf4_values", "nf4_training", "families", "config_fields", "family_adapters", "evaluation", "generation", "schedules", "training_arguments",
         "tokenizers_pipeline", "gguf_files", "chat_templates", "chat_template_tokens", "instruction_tuning", "data_statistics", "adapter_variants", "adapter_parts", "lora_matrix", "random_models"]


def main():
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.exit(f"[{name}] expected one of {', '.join(NAMES)}")
        print("==", name)
        importlib.import_module(f"scripts.references.{name}").main()


if __name__ == "__main__":
    main()
