"""Encoders known by name: what `encoders list` shows, and where a licence comes from when a model folder is silent.

Licences are those of the model pages as last seen (2026); where a page states none, the table says so. The model card
of a fetched folder overrules the table.
Only models that this code loads are listed: CLIP-family and image-only models of `transformers`, and open_clip.
"""

from __future__ import annotations

from histoseek.encoders.bundled import bundled_cards
from histoseek.encoders.color import CARD as COLOR
from histoseek.encoders.encoder import EncoderCard
from histoseek.encoders.licences import NOT_STATED

OPENAI_CODE = "MIT (code; the model page states none)"
OPENAI_SCOPE = "its authors call any deployed use out of scope"


def _dual(name: str, dim: int, licence: str, commercial: bool | None, about: str, gated: bool = False) -> EncoderCard:
    return EncoderCard(name, dim, True, licence, commercial, gated, _page(name), about)


def _image(name: str, dim: int, licence: str, commercial: bool | None, about: str, gated: bool = False) -> EncoderCard:
    return EncoderCard(name, dim, False, licence, commercial, gated, _page(name), about)


def _page(name: str) -> str:
    return f"https://huggingface.co/{name.removeprefix('openclip:').removeprefix('hf-hub:').removeprefix('hf:')}"


KNOWN: tuple[EncoderCard, ...] = (
    COLOR,
    _dual("hf:openai/clip-vit-base-patch16", 512, OPENAI_CODE, None, f"CLIP ViT-B/16, general; {OPENAI_SCOPE}"),
    _dual("hf:openai/clip-vit-base-patch32", 512, OPENAI_CODE, None, f"CLIP ViT-B/32, general; {OPENAI_SCOPE}"),
    _dual("hf:openai/clip-vit-large-patch14", 768, OPENAI_CODE, None, f"CLIP ViT-L/14, general; {OPENAI_SCOPE}"),
    _dual("hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 512, "MIT", True, "CLIP ViT-B/32 trained on LAION-2B, general"),
    _dual("hf:google/siglip-base-patch16-224", 768, "Apache-2.0", True, "SigLIP ViT-B/16, general"),
    _dual(
        "hf:google/medsiglip-448",
        1152,
        "Health AI Developer Foundations terms of use",
        None,
        "SigLIP 400M for medical images, histopathology among them",
        gated=True,
    ),
    _dual("hf:vinid/plip", 512, NOT_STATED, None, f"PLIP: CLIP ViT-B/32 for pathology; {OPENAI_SCOPE}"),
    _dual("hf:wisdomik/QuiltNet-B-32", 512, "MIT", True, f"QuiltNet: CLIP ViT-B/32 for histopathology; {OPENAI_SCOPE}"),
    _dual(
        "openclip:hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        512,
        "MIT",
        True,
        "BiomedCLIP: ViT-B/16 and PubMedBERT, PMC-15M figures; published as a pickle: convert it first",
    ),
    _image("hf:owkin/phikon", 768, "Owkin non-commercial licence", False, "ViT-B/16 for histopathology, 20x"),
    _image(
        "hf:owkin/phikon-v2", 1024, "Owkin non-commercial licence", False, "DINOv2 ViT-L/16 for histopathology, 20x"
    ),
    _image("hf:kaiko-ai/midnight", 1536, "MIT", True, "Midnight-12k: DINOv2 ViT-g/14 for histopathology, large"),
    _image("hf:facebook/dinov2-base", 768, "Apache-2.0", True, "DINOv2 ViT-B/14, general"),
    _image("hf:microsoft/resnet-50", 2048, "Apache-2.0", True, "ResNet-50 trained on ImageNet, general"),
)


def known_encoders() -> list[EncoderCard]:
    """Cards of the encoders that Histoseek knows by name, bundled ones first."""
    return [*bundled_cards(), *KNOWN]


def known_encoder(name: str) -> EncoderCard | None:
    """Card of one known encoder, or None."""
    return next((card for card in KNOWN if card.name == name), None)
