"""A small run to talk to: a real chat training of a tiny random model, so short that it learns next to nothing."""

from pathlib import Path

WORDS = "red green blue cat dog bird runs sleeps file table".split()
SYSTEM = "Turn it around."


def rows(system: str = SYSTEM) -> list[dict]:
    "Ninety conversations of one turn: say two words the other way round."
    first = [{"role": "system", "content": system}] if system else []
    turns = lambda a, b: [*first, {"role": "user", "content": f"say {a} and {b}"}, {"role": "assistant", "content": f"{b} {a}"}]
    return [{"messages": turns(a, b)} for a in WORDS for b in WORDS if a != b]


def train_talk(model: Path, runs_dir: Path, run_id: str, method: str = "lora", data=None, **recipe):
    "The finished run."
    from finetune_wb.recipe import Recipe
    from finetune_wb.training.train import train

    made = Recipe(**{"task": "chat", "model": {"id": str(model)}, "method": {"name": method}, "train": {"max_steps": 4, "learning_rate": 5e-3}, **recipe})
    return train(made, rows() if data is None else data, runs_dir=runs_dir, run_id=run_id)
