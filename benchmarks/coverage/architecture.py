"""The architectures of the coverage table: what other people wrote, at small sizes, and a few of our own.

Every entry of `ARCHITECTURES` is a function without arguments that gives a module in evaluation mode with random
weights and its example inputs: a tuple of positional arguments or a dict of keyword arguments. The networks of others
are built from the configuration classes of the library transformers (Apache-2.0); nothing is downloaded.

No weight keeps the value it starts from: zero biases, unit gains and layer scales of 1e-6 would hide a wrong spec.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from own import (
    CNN,
    MLP,
    SIREN,
    GatedRecurrentClassifier,
    LongShortTermClassifier,
    MixerBlock,
    RecurrentClassifier,
    ResidualMLP,
    TransformerTranslator,
    TwoBranches,
    UNet,
)
from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "Inputs", "build", "randomise"]

Inputs = tuple[Tensor, ...] | dict[str, Tensor]
Architecture = Callable[[], tuple[nn.Module, Inputs]]

ARCHITECTURES: dict[str, Architecture] = {}


def randomise(module: nn.Module, inputs: Inputs, seed: int = 0) -> nn.Module:
    """Move every parameter and every running statistic off the value that it was initialised with.

    Statistics are those of the inputs, but for a disturbance: with others a signal dies out on its way through a deep
    network, and whatever is done to the weights then goes unnoticed.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        spread = 0.5 * (parameter.shape[0] / parameter.numel()) ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data.add_(spread * torch.randn(parameter.shape, generator=generator))
    norms = [part for part in module.eval().modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().momentum = 1.0
    if norms:
        with torch.no_grad():
            module(**inputs) if isinstance(inputs, dict) else module(*inputs)
    for norm in norms:
        norm.running_mean.add_(0.1 * torch.randn(norm.running_mean.shape, generator=generator))
        norm.running_var.mul_(torch.exp(0.3 * torch.randn(norm.running_var.shape, generator=generator)))
    # Through the training mode: a few modules keep what they computed from their weights until then.
    return module.train().eval().requires_grad_(False)


def build(name: str) -> tuple[nn.Module, Inputs]:
    """The architecture of that name, with the same weights and inputs at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, inputs = ARCHITECTURES[name]()
        return randomise(module, inputs), inputs


def tokens(length: int = 10, vocabulary: int = 50, batch: int = 2) -> Tensor:
    # From 5 on: the first tokens are the special ones, on which a few models branch.
    return torch.randint(5, vocabulary, (batch, length))


def text(**more: Tensor) -> dict[str, Tensor]:
    return {"input_ids": tokens(), "attention_mask": torch.ones(2, 10, dtype=torch.long), **more}


def image(size: int = 32, channels: int = 3) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, channels, size, size)}


class Reading(nn.Module):
    """A model of which some outputs are read, so that its hidden states, which it also returns, are not outputs."""

    def __init__(self, model: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**inputs)
        return tuple(found[name] for name in self.outputs)


def published(
    name: str, model: str, inputs: Callable[[], Inputs], outputs: tuple[str, ...] = (), **settings: Any
) -> None:
    """Add a class of transformers under a name, built from its own configuration class with these settings.

    `outputs` names the outputs to read; without names the model stays as it is, with all that it returns.
    """

    def architecture() -> tuple[nn.Module, Inputs]:
        kind = getattr(transformers, model)
        configuration = kind.config_class(**settings)
        if hasattr(configuration, "use_cache"):
            configuration.use_cache = False
        module = kind(configuration)
        return Reading(module, outputs) if outputs else module, inputs()

    ARCHITECTURES[name] = architecture


def own(name: str, module: Callable[[], nn.Module], inputs: Callable[[], Inputs]) -> None:
    """Add a module of our own, or of torch, under a name."""
    ARCHITECTURES[name] = lambda: (module(), inputs())


# Convolutional networks -----------------------------------------------------------------------------------------------

STAGES: dict[str, Any] = {"hidden_sizes": [16, 24, 32], "depths": [2, 2, 2], "num_labels": 7}

published("ResNet (basic)", "ResNetForImageClassification", image, embedding_size=16, layer_type="basic", **STAGES)
published("ResNet (bottleneck)", "ResNetForImageClassification", image, embedding_size=16, **STAGES)
published(
    "RegNet X", "RegNetForImageClassification", image, embedding_size=16, groups_width=8, layer_type="x", **STAGES
)
published(
    "RegNet Y", "RegNetForImageClassification", image, embedding_size=16, groups_width=8, layer_type="y", **STAGES
)
published(
    "BiT",
    "BitForImageClassification",
    lambda: image(64),
    embedding_size=32,
    hidden_sizes=[32, 64, 64],
    depths=[1, 2, 1],
    num_groups=4,
    num_labels=7,
)
published("ConvNeXt", "ConvNextForImageClassification", image, **STAGES, num_stages=3)
published("ConvNeXt V2", "ConvNextV2ForImageClassification", image, **STAGES, num_stages=3)
published("MobileNet V1", "MobileNetV1ForImageClassification", image, depth_multiplier=0.25, num_labels=7)
published("MobileNet V2", "MobileNetV2ForImageClassification", image, depth_multiplier=0.25, num_labels=7)
published(
    "EfficientNet",
    "EfficientNetForImageClassification",
    image,
    width_coefficient=0.25,
    depth_coefficient=0.25,
    hidden_dim=320,
    num_labels=7,
)
published(
    "HGNet V2",
    "HGNetV2ForImageClassification",
    lambda: image(64),
    num_labels=7,
    embedding_size=16,
    hidden_sizes=[16, 24, 32, 48],
    stem_channels=[3, 8, 16],
    stage_in_channels=[16, 16, 24, 32],
    stage_mid_channels=[8, 8, 16, 16],
    stage_out_channels=[16, 24, 32, 48],
    stage_num_blocks=[1, 1, 1, 1],
    stage_numb_of_layers=[2, 2, 2, 2],
)
published(
    "TextNet",
    "TextNetForImageClassification",
    lambda: image(64),
    num_labels=7,
    stem_out_channels=16,
    hidden_sizes=[16, 16, 24, 32, 32],
    conv_layer_kernel_sizes=[[[3, 3]], [[3, 1]], [[1, 3]], [[3, 3]]],
    conv_layer_strides=[[2], [2], [1], [2]],
)

# Networks of vision with attention or token mixing --------------------------------------------------------------------

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 7,
}

published("ViT", "ViTForImageClassification", image, **VISION)
published("DeiT", "DeiTForImageClassification", image, **VISION)
published("ViT-MSN", "ViTMSNForImageClassification", image, **VISION)
published("BEiT", "BeitForImageClassification", image, **VISION)
published("Data2Vec vision", "Data2VecVisionForImageClassification", image, **VISION)
published("DINOv2", "Dinov2ForImageClassification", image, **VISION)
published("I-JEPA", "IJepaForImageClassification", image, **VISION)
published(
    "Swin",
    "SwinForImageClassification",
    image,
    image_size=32,
    patch_size=4,
    embed_dim=16,
    depths=[2, 2],
    num_heads=[2, 4],
    window_size=4,
    num_labels=7,
)
published(
    "Swin V2",
    "Swinv2ForImageClassification",
    image,
    image_size=32,
    patch_size=4,
    embed_dim=16,
    depths=[2, 2],
    num_heads=[2, 4],
    window_size=4,
    num_labels=7,
)
published(
    "PVT",
    "PvtForImageClassification",
    lambda: image(64),
    image_size=64,
    hidden_sizes=[16, 32, 32, 48],
    depths=[1, 1, 1, 1],
    num_attention_heads=[1, 2, 4, 4],
    mlp_ratios=[2, 2, 2, 2],
    num_labels=7,
)
published(
    "PVT V2",
    "PvtV2ForImageClassification",
    lambda: image(64),
    image_size=64,
    hidden_sizes=[16, 32, 32, 48],
    depths=[1, 1, 1, 1],
    num_attention_heads=[1, 2, 4, 4],
    mlp_ratios=[2, 2, 2, 2],
    num_labels=7,
)
published(
    "SegFormer",
    "SegformerForImageClassification",
    lambda: image(64),
    hidden_sizes=[16, 32, 32, 48],
    depths=[1, 1, 1, 1],
    num_attention_heads=[1, 2, 4, 4],
    mlp_ratios=[2, 2, 2, 2],
    num_labels=7,
)
published(
    "PoolFormer",
    "PoolFormerForImageClassification",
    lambda: image(64),
    hidden_sizes=[16, 24, 32, 48],
    depths=[1, 1, 2, 1],
    num_labels=7,
)
published(
    "LeViT",
    "LevitForImageClassification",
    lambda: image(128),
    image_size=128,
    hidden_sizes=[32, 48, 64],
    num_attention_heads=[2, 3, 4],
    depths=[1, 1, 1],
    key_dim=[8, 8, 8],
    num_labels=7,
)
published(
    "CvT",
    "CvtForImageClassification",
    lambda: image(64),
    embed_dim=[16, 32, 48],
    num_heads=[1, 2, 3],
    depth=[1, 2, 3],
    num_labels=7,
)
published(
    "MobileViT",
    "MobileViTForImageClassification",
    lambda: image(128),
    image_size=128,
    hidden_sizes=[24, 32, 40],
    neck_hidden_sizes=[8, 8, 16, 24, 32, 40, 48],
    num_labels=7,
)
published(
    "MobileViT V2",
    "MobileViTV2ForImageClassification",
    lambda: image(64),
    image_size=64,
    width_multiplier=0.25,
    n_attn_blocks=[1, 1, 1],
    num_labels=7,
)
published(
    "SwiftFormer",
    "SwiftFormerForImageClassification",
    lambda: image(64),
    image_size=64,
    embed_dims=[16, 24, 32, 48],
    depths=[1, 1, 2, 1],
    num_labels=7,
)
published(
    "FocalNet",
    "FocalNetForImageClassification",
    image,
    image_size=32,
    embed_dim=16,
    depths=[1, 2],
    hidden_sizes=[16, 32],
    focal_levels=[2, 2],
    focal_windows=[3, 3],
    num_labels=7,
)
published(
    "Hiera",
    "HieraForImageClassification",
    lambda: image(64),
    image_size=[64, 64],
    embed_dim=16,
    depths=[1, 1, 1],
    num_heads=[1, 2, 4],
    masked_unit_size=[4, 4],
    query_stride=[2, 2],
    num_query_pool=2,
    num_labels=7,
)
published(
    "SigLIP vision",
    "SiglipForImageClassification",
    image,
    vision_config={k: v for k, v in VISION.items() if k != "num_labels"},
    num_labels=7,
)

# Encoders of text -----------------------------------------------------------------------------------------------------

TEXT: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "num_labels": 3,
}
ENCODER: dict[str, Any] = {**TEXT, "pad_token_id": 1}

published("BERT", "BertForMaskedLM", text, **TEXT)
published("RoBERTa", "RobertaForSequenceClassification", text, **ENCODER)
published(
    "DistilBERT",
    "DistilBertForSequenceClassification",
    text,
    vocab_size=50,
    dim=32,
    n_layers=2,
    n_heads=4,
    hidden_dim=48,
    max_position_embeddings=24,
    num_labels=3,
)
published("ALBERT", "AlbertForSequenceClassification", text, embedding_size=16, **TEXT)
published("ELECTRA", "ElectraForSequenceClassification", text, embedding_size=16, **TEXT)
published(
    "DeBERTa",
    "DebertaForSequenceClassification",
    text,
    relative_attention=True,
    pos_att_type=["c2p", "p2c"],
    max_relative_positions=12,
    **TEXT,
)
published(
    "DeBERTa V2",
    "DebertaV2ForSequenceClassification",
    text,
    relative_attention=True,
    pos_att_type=["c2p", "p2c"],
    max_relative_positions=12,
    position_buckets=8,
    **TEXT,
)
published("MPNet", "MPNetForSequenceClassification", text, **ENCODER)
published(
    "SqueezeBERT",
    "SqueezeBertForSequenceClassification",
    text,
    embedding_size=32,
    q_groups=2,
    k_groups=2,
    v_groups=2,
    intermediate_groups=2,
    output_groups=2,
    **TEXT,
)
published(
    "FNet",
    "FNetForSequenceClassification",
    lambda: {"input_ids": tokens()},
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    intermediate_size=48,
    max_position_embeddings=24,
    num_labels=3,
)
published(
    "ConvBERT", "ConvBertForSequenceClassification", text, embedding_size=16, head_ratio=2, conv_kernel_size=3, **TEXT
)
published(
    "Funnel",
    "FunnelForSequenceClassification",
    text,
    vocab_size=50,
    block_sizes=[1, 1],
    d_model=32,
    n_head=4,
    d_head=8,
    d_inner=48,
    num_labels=3,
)
published(
    "MobileBERT",
    "MobileBertForSequenceClassification",
    text,
    embedding_size=16,
    intra_bottleneck_size=16,
    true_hidden_size=16,
    num_feedforward_networks=2,
    **TEXT,
)
published(
    "RemBERT", "RemBertForSequenceClassification", text, input_embedding_size=16, output_embedding_size=24, **TEXT
)
published("RoFormer", "RoFormerForSequenceClassification", text, embedding_size=16, **TEXT)
published(
    "Nystromformer",
    "NystromformerForSequenceClassification",
    lambda: {"input_ids": tokens()},
    num_landmarks=10,
    segment_means_seq_len=10,
    **TEXT,
)
published("YOSO", "YosoForSequenceClassification", text, use_expectation=True, **TEXT)
published(
    "ModernBERT",
    "ModernBertForMaskedLM",
    text,
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=24,
    local_attention=8,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
    bos_token_id=1,
    eos_token_id=2,
    reference_compile=False,
)
published("ESM", "EsmForMaskedLM", text, mask_token_id=4, **ENCODER)
published(
    "XLNet",
    "XLNetForSequenceClassification",
    text,
    ("logits",),
    vocab_size=50,
    d_model=32,
    n_layer=2,
    n_head=4,
    d_inner=48,
    num_labels=3,
)
published(
    "Longformer",
    "LongformerForSequenceClassification",
    lambda: {"input_ids": tokens(12), "attention_mask": torch.ones(2, 12, dtype=torch.long)},
    attention_window=4,
    **ENCODER,
)
published("BigBird", "BigBirdForSequenceClassification", text, attention_type="original_full", **TEXT)

# Decoders of text -----------------------------------------------------------------------------------------------------

published("GPT-2", "GPT2LMHeadModel", text, vocab_size=50, n_positions=24, n_embd=32, n_layer=2, n_head=4)
published(
    "GPT-Neo",
    "GPTNeoForCausalLM",
    text,
    vocab_size=50,
    hidden_size=32,
    num_layers=2,
    num_heads=4,
    attention_types=[[["global", "local"], 1]],
    window_size=8,
    max_position_embeddings=24,
)
published("GPT-NeoX", "GPTNeoXForCausalLM", text, **TEXT)
published("GPT-J", "GPTJForCausalLM", text, vocab_size=50, n_positions=24, n_embd=32, n_layer=2, n_head=4, rotary_dim=4)
published("GPT-BigCode", "GPTBigCodeForCausalLM", text, vocab_size=50, n_positions=24, n_embd=32, n_layer=2, n_head=4)
published(
    "CodeGen", "CodeGenForCausalLM", text, vocab_size=50, n_positions=24, n_embd=32, n_layer=2, n_head=4, rotary_dim=4
)
published("OpenAI GPT", "OpenAIGPTLMHeadModel", text, vocab_size=50, n_positions=24, n_embd=32, n_layer=2, n_head=4)
published(
    "OPT",
    "OPTForCausalLM",
    text,
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    ffn_dim=48,
    max_position_embeddings=24,
    word_embed_proj_dim=32,
)
published("BLOOM", "BloomForCausalLM", text, vocab_size=50, hidden_size=32, n_layer=2, n_head=4)
published(
    "MPT", "MptForCausalLM", text, vocab_size=50, d_model=32, n_layers=2, n_heads=4, max_seq_len=24, expansion_ratio=2
)
published("BioGPT", "BioGptForCausalLM", text, **ENCODER)
published(
    "XGLM",
    "XGLMForCausalLM",
    text,
    vocab_size=50,
    d_model=32,
    ffn_dim=48,
    num_layers=2,
    attention_heads=4,
    max_position_embeddings=24,
)

GROUPED: dict[str, Any] = {**TEXT, "num_key_value_heads": 2}

published("Llama", "LlamaForCausalLM", text, **GROUPED)
published("Mistral", "MistralForCausalLM", text, sliding_window=8, **GROUPED)
published("Qwen2", "Qwen2ForCausalLM", text, **GROUPED)
published("Qwen3", "Qwen3ForCausalLM", text, head_dim=8, **GROUPED)
published("Gemma", "GemmaForCausalLM", text, head_dim=8, **GROUPED)
published("Gemma 2", "Gemma2ForCausalLM", text, head_dim=8, query_pre_attn_scalar=8, **GROUPED)
published("Phi", "PhiForCausalLM", text, **TEXT)
published("Phi-3", "Phi3ForCausalLM", text, pad_token_id=0, bos_token_id=1, eos_token_id=2, **GROUPED)
published(
    "Falcon",
    "FalconForCausalLM",
    text,
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=24,
)
published("StableLM", "StableLmForCausalLM", text, **GROUPED)
published("OLMo", "OlmoForCausalLM", text, **GROUPED)
published("OLMo 2", "Olmo2ForCausalLM", text, **GROUPED)
published("Starcoder2", "Starcoder2ForCausalLM", text, **GROUPED)
published("Granite", "GraniteForCausalLM", text, **GROUPED)
published("Cohere", "CohereForCausalLM", text, pad_token_id=0, bos_token_id=1, eos_token_id=2, **GROUPED)
published(
    "Mixtral",
    "MixtralForCausalLM",
    text,
    num_local_experts=4,
    num_experts_per_tok=2,
    experts_implementation="batched_mm",
    **GROUPED,
)

# Recurrences of text --------------------------------------------------------------------------------------------------

published(
    "Mamba",
    "MambaForCausalLM",
    lambda: {"input_ids": tokens()},
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=2,
    state_size=4,
    time_step_rank=3,
)
published(
    "Mamba 2",
    "Mamba2ForCausalLM",
    lambda: {"input_ids": tokens()},
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    state_size=4,
    num_heads=8,
    head_dim=8,
    n_groups=2,
    chunk_size=4,
)
published(
    "RWKV",
    "RwkvForCausalLM",
    lambda: {"input_ids": tokens()},
    vocab_size=50,
    hidden_size=32,
    attention_hidden_size=32,
    num_hidden_layers=2,
    intermediate_size=48,
    context_length=24,
)
published(
    "RecurrentGemma",
    "RecurrentGemmaForCausalLM",
    text,
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    lru_width=32,
    attention_window_size=8,
)

# Encoder-decoders, sound, images with text ----------------------------------------------------------------------------


def translation() -> Inputs:
    return text(decoder_input_ids=tokens(8))


SEQ2SEQ: dict[str, Any] = {
    "vocab_size": 50,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 24,
}

published(
    "T5",
    "T5ForConditionalGeneration",
    translation,
    ("logits",),
    vocab_size=50,
    d_model=32,
    d_kv=8,
    d_ff=48,
    num_layers=2,
    num_heads=4,
)
published(
    "T5 1.1 (gated)",
    "T5ForConditionalGeneration",
    translation,
    ("logits",),
    vocab_size=50,
    d_model=32,
    d_kv=8,
    d_ff=48,
    num_layers=2,
    num_heads=4,
    feed_forward_proj="gated-gelu",
)
published("BART", "BartForConditionalGeneration", translation, ("logits",), **SEQ2SEQ)
published("Marian", "MarianMTModel", translation, ("logits",), pad_token_id=1, decoder_start_token_id=1, **SEQ2SEQ)
published("Pegasus", "PegasusForConditionalGeneration", translation, ("logits",), **SEQ2SEQ)
published("mBART", "MBartForConditionalGeneration", translation, ("logits",), **SEQ2SEQ)

SOUND: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16, 16, 16],
    "conv_stride": [4, 2, 2],
    "conv_kernel": [8, 3, 3],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 20,
    "num_labels": 3,
    "classifier_proj_size": 16,
    "mask_time_prob": 0.0,
}


def sound() -> Inputs:
    return {"input_values": torch.randn(2, 320)}


published("Wav2Vec2", "Wav2Vec2ForSequenceClassification", sound, **SOUND)
published("HuBERT", "HubertForSequenceClassification", sound, **SOUND)
published("WavLM", "WavLMForSequenceClassification", sound, num_buckets=16, max_bucket_distance=20, **SOUND)
published(
    "Whisper",
    "WhisperForConditionalGeneration",
    lambda: {"input_features": torch.randn(2, 8, 32), "decoder_input_ids": tokens(8)},
    ("logits",),
    vocab_size=50,
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    num_mel_bins=8,
    max_source_positions=16,
    max_target_positions=24,
    pad_token_id=1,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
)
published(
    "Audio spectrogram transformer",
    "ASTForAudioClassification",
    lambda: {"input_values": torch.randn(2, 32, 16)},
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    patch_size=8,
    frequency_stride=8,
    time_stride=8,
    max_length=32,
    num_mel_bins=16,
    num_labels=3,
)


def captioned() -> Inputs:
    # Text is read at its last token, which is the end-of-text token.
    ended = torch.cat([tokens(9, 49), torch.full((2, 1), 49)], 1)
    return {**text(), **image(), "input_ids": ended}


published(
    "CLIP",
    "CLIPModel",
    captioned,
    ("logits_per_image",),
    text_config={**{k: v for k, v in TEXT.items() if k != "num_labels"}, "eos_token_id": 49},
    vision_config={k: v for k, v in VISION.items() if k != "num_labels"},
    projection_dim=24,
)
published(
    "SegFormer, segmentation",
    "SegformerForSemanticSegmentation",
    lambda: image(64),
    hidden_sizes=[16, 32, 32, 48],
    depths=[1, 1, 1, 1],
    num_attention_heads=[1, 2, 4, 4],
    mlp_ratios=[2, 2, 2, 2],
    decoder_hidden_size=24,
    num_labels=7,
)
published(
    "DPT",
    "DPTForSemanticSegmentation",
    image,
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=48,
    image_size=32,
    patch_size=8,
    backbone_out_indices=[0, 1, 2, 3],
    neck_hidden_sizes=[8, 16, 24, 24],
    fusion_hidden_size=16,
    readout_type="ignore",
    num_labels=4,
    use_auxiliary_head=False,
)
published(
    "Swin2SR",
    "Swin2SRForImageSuperResolution",
    image,
    image_size=32,
    embed_dim=16,
    depths=[2, 2],
    num_heads=[2, 2],
    window_size=4,
)
published("SuperPoint", "SuperPointForKeypointDetection", image)
published(
    "PatchTST",
    "PatchTSTForPrediction",
    lambda: {"past_values": torch.randn(2, 32, 3)},
    ("prediction_outputs",),
    num_input_channels=3,
    context_length=32,
    patch_length=8,
    patch_stride=8,
    prediction_length=6,
    d_model=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    ffn_dim=48,
)
published(
    "PatchTSMixer",
    "PatchTSMixerForPrediction",
    lambda: {"past_values": torch.randn(2, 32, 3), "future_values": torch.randn(2, 6, 3)},
    ("prediction_outputs",),
    num_input_channels=3,
    context_length=32,
    patch_length=8,
    patch_stride=8,
    prediction_length=6,
    d_model=16,
    num_layers=2,
)
published(
    "Decision transformer",
    "DecisionTransformerModel",
    lambda: {
        "states": torch.randn(2, 5, 6),
        "actions": torch.randn(2, 5, 3),
        "rewards": torch.randn(2, 5, 1),
        "returns_to_go": torch.randn(2, 5, 1),
        "timesteps": torch.arange(5).repeat(2, 1),
        "attention_mask": torch.ones(2, 5, dtype=torch.long),
    },
    ("state_preds", "action_preds", "return_preds"),
    state_dim=6,
    act_dim=3,
    hidden_size=32,
    n_layer=2,
    n_head=4,
    max_ep_len=20,
)
published(
    "HiFi-GAN",
    "SpeechT5HifiGan",
    lambda: {"spectrogram": torch.randn(2, 12, 8)},
    model_in_dim=8,
    upsample_initial_channel=32,
    upsample_rates=[2, 2],
    upsample_kernel_sizes=[4, 4],
    resblock_kernel_sizes=[3, 5],
    resblock_dilation_sizes=[[1, 3], [1, 3]],
)

# Our own, and torch's -------------------------------------------------------------------------------------------------

own("MLP, ReLU", lambda: MLP([10, 32, 24, 5]), lambda: (torch.randn(3, 10),))
own("MLP, tanh", lambda: MLP([10, 32, 24, 5], nn.Tanh), lambda: (torch.randn(3, 10),))
own("MLP, GELU", lambda: MLP([10, 32, 24, 5], nn.GELU), lambda: (torch.randn(3, 10),))
own("MLP, residual", ResidualMLP, lambda: (torch.randn(3, 10),))
own("CNN, batch normalisation", CNN, lambda: (torch.randn(2, 3, 32, 32),))
own("SIREN", SIREN, lambda: (torch.rand(9, 2),))
own("U-Net", UNet, lambda: (torch.randn(2, 1, 16, 16),))
own("MLP-mixer", MixerBlock, lambda: (torch.randn(2, 3, 32, 32),))
own("Two branches", TwoBranches, lambda: (torch.randn(2, 4, 9), torch.randn(2, 6)))
own("RNN classifier", RecurrentClassifier, lambda: (tokens(),))
own("GRU classifier", GatedRecurrentClassifier, lambda: (tokens(),))
own("LSTM classifier", lambda: LongShortTermClassifier(layers=2), lambda: (tokens(),))
own("torch.nn.Transformer", TransformerTranslator, lambda: (tokens(), tokens(8)))
own(
    "torch.nn.TransformerEncoder",
    lambda: nn.Sequential(
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True), 2, enable_nested_tensor=False
        ),
        nn.Linear(32, 5),
    ),
    lambda: (torch.randn(2, 10, 32),),
)
