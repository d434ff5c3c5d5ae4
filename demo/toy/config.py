"""How the toy models' images are made. Loads no library."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class SourceConfig:
    """How the images are made."""

    seed: int = 0
    """Decides every image, with its name."""
    strengths: tuple[float, ...] = (0.5,)
    """Shares of the noising that img2img goes through, which keeps the content of its photograph. The image's name
    decides which one it is."""
    img2img_guidance: float = 1.0
    """1 is no guidance: the prompt "a photo" says nothing about the content."""
    sample_guidances: tuple[float, ...] = (3.0,)
    """Guidances of the class prompts. The image's name decides which one it is."""
    num_steps: int = 20
    """DDIM steps from pure noise; img2img takes the last `strength` of them."""
    batch_size: int = 64
    """Images a call. Changes nothing but the time."""

    def __post_init__(self) -> None:
        """Check what would fail only after minutes."""
        if not (self.strengths and self.sample_guidances):
            raise ValueError("strengths and sample_guidances need at least one value each")
        for strength in self.strengths:
            if not (strength <= 1 and int(strength * self.num_steps) >= 1):
                raise ValueError(
                    f"strength {strength} of {self.num_steps} steps leaves none: expected at most 1, at least one step"
                )

    def strength_of(self, name: str) -> float:
        """The strength of the img2img image of this name, whichever model makes it."""
        return self.strengths[digest(f"strength|{self.seed}|{name}") % len(self.strengths)]

    def guidance_of(self, name: str) -> float:
        """The guidance of the class sample of this name, whichever model makes it."""
        return self.sample_guidances[digest(f"guidance|{self.seed}|{name}") % len(self.sample_guidances)]


def digest(text: str) -> int:
    """32 bits that are a function of a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
