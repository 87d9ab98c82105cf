"""A GPU against the CPU beside it: seconds per epoch, seconds of one evaluation, and what both have learned.

    python benchmarks/gpu.py --shape tiktok --models lightgcn mmgcn freedom --epochs 3

The same recipe, seed and data are trained on both devices. The first epoch, which compiles and allocates, is not
counted.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

import medley


def main() -> None:
    """Trains every model on both devices and prints one row per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="tiktok", help="a preset of medley simulate")
    parser.add_argument(
        "--interactions", type=int, help="another number of interactions, users and items in proportion"
    )
    parser.add_argument("--models", nargs="+", default=["mf", "lightgcn", "mmgcn", "freedom", "egogcn"])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8192)
    parser.add_argument("--devices", nargs="+", default=["cpu", "cuda"])
    args = parser.parse_args()
    settings = medley.preset(args.shape)
    if args.interactions:
        share = args.interactions / settings.num_interactions
        size = {"num_users": round(settings.num_users * share), "num_items": round(settings.num_items * share)}
        settings = medley.preset(args.shape, num_interactions=args.interactions, **size)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{gpu}; {torch.get_num_threads()} CPU threads; {args.shape}: {settings.num_interactions:,} interactions")
    print("| model | device | s/epoch | of it validation | validation recall@20 | loss |\n|---|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        data = medley.simulate(Path(folder) / "data", settings=settings, seed=0)
        for name in args.models:
            for device in args.devices:
                options = {"num_epochs": args.epochs + 1, "patience": 0, "batch_size": args.batch_size}
                run = medley.train(name, data, device=device, progress=False, lr=5e-3, **options)
                epochs = run.history.epochs[1:]
                seconds, judged = (
                    statistics.median(values)
                    for values in zip(*((e.seconds, e.seconds_validation) for e in epochs), strict=True)
                )
                learned = f"{run.record.best:.4f} | {epochs[-1].loss:.5f}"
                print(f"| {name} | {device} | {seconds:.2f} | {judged:.2f} | {learned} |", flush=True)


if __name__ == "__main__":
    main()
