"""Train the toy latent diffusion model: `python -m demo.toy_ldm train --images FOLDER --out FOLDER`.

The result is a Stable Diffusion folder in miniature (VAE, UNet, CLIP text encoder, tokenizer, scheduler), which stage 1
loads by path like any other model. FOLDER holds `…/<class>/<photograph>`; the class is the text condition.

Training goes in two parts, VAE then UNet, each a fixed number of steps. The state is written every few minutes, and the
same command goes on from it. What a step sees is a function of (seed, part, step), so a resumed run sees what an
uninterrupted one would have seen.
"""

import csv
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from diffusers.training_utils import EMAModel
from jsonargparse import auto_cli
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from demo.toy_model import (
    GENERIC_PROMPT,
    IMAGE_SIZE_PX,
    PROMPT_TEMPLATE,
    ToyConfig,
    build_pipeline,
    encode_prompts,
)

logger = logging.getLogger(__name__)

HELD_OUT_FRACTION = 0.04
SAVE_EVERY_STEPS = 200
DEFAULTS = ToyConfig()


@dataclass(frozen=True)
class Photos:
    """Decoded photographs, (h, w, 3) uint8 each, with their class names."""

    pixels: list[np.ndarray]
    class_names: list[str]

    @classmethod
    def load(cls, folder: Path) -> tuple["Photos", "Photos"]:
        """Read `…/<class>/<photograph>` below a folder, and split it into (training, held out) photographs."""
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
        if not paths:
            raise ValueError(f"{folder}: no .jpg or .png below it; expected <class>/<photograph>")
        held_out = set(np.random.default_rng(0).permutation(len(paths))[: math.ceil(len(paths) * HELD_OUT_FRACTION)])
        parts: list[Photos] = [cls([], []), cls([], [])]
        for i, path in enumerate(tqdm(paths, desc="photographs")):
            part = parts[i in held_out]
            part.pixels.append(np.asarray(Image.open(path).convert("RGB")))
            part.class_names.append(path.parent.name)
        return parts[0], parts[1]

    def crop(self, i: int, rng: np.random.Generator) -> np.ndarray:
        """Shrink photograph i whole to a random short side, cut a random square, flip half of them: (64, 64, 3)."""
        image = Image.fromarray(self.pixels[i])
        # From the whole picture (72) to a quarter of it (144): the demo's tiles are cut at about the second scale.
        short_side = round(72 * 2 ** rng.random())
        scale = short_side / min(image.size)
        image = image.resize([max(short_side, round(s * scale)) for s in image.size], Image.Resampling.LANCZOS)
        left, top = (int(rng.integers(0, s - IMAGE_SIZE_PX + 1)) for s in image.size)
        tile = np.asarray(image)[top : top + IMAGE_SIZE_PX, left : left + IMAGE_SIZE_PX]
        return tile[:, ::-1] if rng.random() < 0.5 else tile

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, list[int]]:
        """Random crops, (size, 3, 64, 64) in [-1, 1], and the photographs that they come from."""
        rows = rng.integers(0, len(self.pixels), size).tolist()
        return to_tensor([self.crop(i, rng) for i in rows]), rows


def to_tensor(tiles: list[np.ndarray]) -> Tensor:
    """(h, w, 3) uint8 each → (batch, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def image_gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along x and y of (batch, c, h, w), cut to (batch, c, h-1, w-1)."""
    dx = images[..., :-1, 1:] - images[..., :-1, :-1]
    dy = images[..., 1:, :-1] - images[..., :-1, :-1]
    return dx, dy


def vae_loss(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """L1 on pixels, on their gradients, and on the local mean of the gradient's size; a light KL.

    The second term sharpens edges, the third keeps texture whose exact place cannot be coded: without it the decoder
    averages fine detail away and every decoded image is smoother than a photograph.
    """
    # bfloat16 halves the time of this part on a CPU that has it; the UNet gains nothing from it there.
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
    (dx, dy), (tx, ty) = image_gradients(decoded), image_gradients(images)
    edges = F.l1_loss(dx, tx) + F.l1_loss(dy, ty)
    size, target_size = dx.abs() + dy.abs(), tx.abs() + ty.abs()
    texture = F.l1_loss(F.avg_pool2d(size, 4), F.avg_pool2d(target_size, 4))
    kl = posterior.kl().float().mean() / posterior.mean[0].numel()
    return F.l1_loss(decoded, images) + edges + 0.5 * texture + 2e-4 * kl


def cosine_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Learning rate: linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))))


class Part:
    """One of the two trainings: a module, its EMA copy, its optimiser, and the file they are resumed from."""

    def __init__(self, name: str, module: nn.Module, steps: int, learning_rate: float, config: ToyConfig, out: Path):
        self.name, self.module, self.steps, self.learning_rate = name, module, steps, learning_rate
        self.out, self.file = out, out / f"{name}-state.pt"
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self.ema = EMAModel(module.parameters(), decay=config.ema_decay)
        self.seed, self.step = config.seed, 0
        self.settings = repr(asdict(config))
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            if state["settings"] != self.settings:
                raise ValueError(f"{self.file} was trained with {state['settings']}, this run has {self.settings}")
            module.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.ema.load_state_dict(state["ema"])
            self.step = state["step"]

    def rngs(self) -> Iterator[np.random.Generator]:
        """Yield the randomness of each step that is still to do, and write the state now and then."""
        bar = tqdm(range(self.step, self.steps), desc=self.name, initial=self.step, total=self.steps, mininterval=5)
        for step in bar:
            torch.manual_seed(int(np.random.SeedSequence([self.seed, step, self.name == "unet"]).generate_state(1)[0]))
            yield np.random.default_rng([self.seed, step, self.name == "unet"])
            self.step = step + 1
            if self.step % SAVE_EVERY_STEPS == 0 or self.step == self.steps:
                self.save()

    def update(self, loss: Tensor) -> None:
        """One optimiser step at the schedule's rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_rate(self.step, self.steps, self.learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.ema.step(self.module.parameters())

    def save(self) -> None:
        """Replace the state file by one rename."""
        state = {
            "settings": self.settings,
            "step": self.step,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
        }
        torch.save(state, self.file.with_suffix(".tmp"))
        os.replace(self.file.with_suffix(".tmp"), self.file)

    def log(self, **values: float) -> None:
        """Append one line to `<name>-log.csv`."""
        path = self.out / f"{self.name}-log.csv"
        new = not path.exists()
        with path.open("a", newline="") as f:
            writer = csv.writer(f)
            if new:
                writer.writerow(["step", *values])
            writer.writerow([self.step, *(f"{v:.5f}" for v in values.values())])


@torch.no_grad()
def vae_quality(vae: AutoencoderKL, images: Tensor) -> dict[str, float]:
    """PSNR in dB and the share of the images' gradient energy that a round trip keeps."""
    decoded = vae.decode(vae.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
    mse = (decoded - images).square().mean(dim=(1, 2, 3))
    energy = [sum(g.square().sum().item() for g in image_gradients(x)) for x in (decoded, images)]
    return {"psnr_db": (10 * torch.log10(4 / mse)).mean().item(), "kept_gradient_energy": energy[0] / energy[1]}


def train_vae(vae: AutoencoderKL, photos: Photos, held_out: Photos, config: ToyConfig, out: Path) -> None:
    """Train the autoencoder; leave the EMA weights in it."""
    part = Part("vae", vae, config.vae_steps, config.vae_learning_rate, config, out)
    images = held_out.batch(128, np.random.default_rng(1))[0]
    running = 0.0
    for rng in part.rngs():
        loss = vae_loss(vae, photos.batch(config.vae_batch_size, rng)[0])
        part.update(loss)
        running = loss.item() if running == 0 else 0.98 * running + 0.02 * loss.item()
        if (part.step + 1) % 200 == 0:
            part.ema.store(vae.parameters())
            part.ema.copy_to(vae.parameters())
            part.log(train_loss=running, **vae_quality(vae, images))
            save_sheet(out / "vae-sheet.png", [images[:16], vae(images[:16]).sample])
            part.ema.restore(vae.parameters())
    part.ema.copy_to(vae.parameters())


@torch.no_grad()
def encode_photos(vae: AutoencoderKL, photos: Photos, crops: int, seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """Latent means and standard deviations, (photos * crops, c, h, w), of a fixed set of crops, and their classes."""
    means, stds, names = [], [], []
    for i in tqdm(range(len(photos.pixels)), desc="latents", mininterval=5):
        rng = np.random.default_rng([seed, i])
        posterior = vae.encode(to_tensor([photos.crop(i, rng) for _ in range(crops)])).latent_dist
        means.append(posterior.mean.half())
        stds.append(posterior.std.half())
        names += [photos.class_names[i]] * crops
    return torch.cat(means), torch.cat(stds), names


def draw_latents(mean: Tensor, std: Tensor, scaling: float) -> Tensor:
    """A posterior sample, scaled to unit variance."""
    return (mean.float() + std.float() * torch.randn(mean.shape)) * scaling


def drop_prompts(class_names: np.ndarray, rng: np.random.Generator, config: ToyConfig) -> np.ndarray:
    """Replace a share of the classes by no prompt, which guidance needs, and another by the generic one."""
    drawn = rng.random(len(class_names))
    is_generic = drawn < config.empty_prompt_fraction + config.generic_prompt_fraction
    return np.where(drawn < config.empty_prompt_fraction, "", np.where(is_generic, GENERIC_PROMPT, class_names))


def train_unet(
    pipeline: StableDiffusionPipeline, photos: Photos, held_out: Photos, config: ToyConfig, out: Path
) -> None:
    """Train the noise predictor on the frozen VAE's latents; leave the EMA weights in it."""
    unet, scheduler = pipeline.unet, pipeline.scheduler
    mean, std, names = encode_photos(pipeline.vae, photos, config.crops_per_photo, config.seed)
    pipeline.vae.register_to_config(scaling_factor=round(1 / mean.float().std().item(), 5))
    scaling = pipeline.vae.config.scaling_factor
    embeddings = encode_prompts(pipeline, ["", GENERIC_PROMPT, *sorted(set(names))])
    classes = np.array(names)

    val_mean, val_std, val_names = encode_photos(pipeline.vae, held_out, 2, config.seed + 1)
    torch.manual_seed(2)
    val = draw_latents(val_mean, val_std, scaling)
    val_noise, val_time = torch.randn(val.shape), torch.arange(len(val)) * 619 % 1000
    val_text = torch.stack([embeddings[n] for n in val_names])

    def loss_of(latents: Tensor, noise: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        return F.mse_loss(unet(scheduler.add_noise(latents, noise, timestep), timestep, text).sample, noise)

    part = Part("unet", unet, config.unet_steps, config.unet_learning_rate, config, out)
    running = 0.0
    for rng in part.rngs():
        rows = rng.integers(0, len(mean), config.unet_batch_size)
        prompts = drop_prompts(classes[rows], rng, config)
        latents = draw_latents(mean[rows], std[rows], scaling)
        timestep = torch.randint(0, 1000, (len(rows),))
        loss = loss_of(latents, torch.randn(latents.shape), timestep, torch.stack([embeddings[p] for p in prompts]))
        part.update(loss)
        running = loss.item() if running == 0 else 0.98 * running + 0.02 * loss.item()
        if (part.step + 1) % 400 == 0:
            part.ema.store(unet.parameters())
            part.ema.copy_to(unet.parameters())
            with torch.no_grad():
                part.log(train_loss=running, held_out_loss=loss_of(val, val_noise, val_time, val_text).item())
            part.ema.restore(unet.parameters())
    part.ema.copy_to(unet.parameters())


def save_sheet(path: Path, rows: list[Tensor]) -> None:
    """Rows of images, each (n, 3, h, w) in [-1, 1], as one PNG."""
    sheet = torch.cat([torch.cat(list(row.detach()), dim=2) for row in rows], dim=1).clamp(-1, 1)
    Image.fromarray(((sheet + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)


def sample_sheet(pipeline: StableDiffusionPipeline, class_names: list[str], path: Path) -> None:
    """Eight images of each class at guidance 3, one row a class."""
    scheduler, pipeline.scheduler = pipeline.scheduler, DDIMScheduler.from_config(pipeline.scheduler.config)
    rows = []
    for name in class_names:
        images = pipeline(
            [PROMPT_TEMPLATE.format(class_name=name)] * 8,
            num_inference_steps=20,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images
        rows.append(images * 2 - 1)
    pipeline.scheduler = scheduler
    save_sheet(path, rows)


def train(images: Path, out: Path, settings: ToyConfig = DEFAULTS) -> None:
    """Train both parts, going on from what `out` holds, and save the model folder `out/model` in float16.

    Args:
        images: Folder of `<class>/<photograph>`.
        out: Folder for states, logs, sheets and the finished model.
        settings: What decides the weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    photos, held_out = Photos.load(images)
    pipeline = build_pipeline(settings, photos.class_names)
    train_vae(pipeline.vae, photos, held_out, settings, out)
    pipeline.vae.eval().requires_grad_(False)
    train_unet(pipeline, photos, held_out, settings, out)
    pipeline.unet.eval()
    sample_sheet(pipeline, sorted(set(photos.class_names)), out / "samples.png")
    pipeline.to(dtype=torch.float16).save_pretrained(out / "model", safe_serialization=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    auto_cli({"train": train}, as_positional=False)
