"""A fine-tuning workbench for JupyterLab: from "should I?" to a verdict you can trust.

The one road: `Recipe → load_data → train → evaluate`, each step a function and each result a value or a folder.

    from finetune_wb import evaluate, load_recipe, train
    run = train(load_recipe("recipe.yaml"))
    verdict = evaluate(run)

The names below are imported on first use, so that `import finetune_wb` loads neither torch nor transformers.
"""
import os
from importlib import import_module

# torch's OpenMP threads spin while they wait. On a machine that is not all ours (a laptop, a notebook server) that costs
# two to three times the CPU seconds of the work itself (benchmarks/RESULTS.md); libgomp reads this when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

__version__ = "0.1.0"

_home = {  # public name -> the module that defines it
    "Recipe": "recipe", "load_recipe": "recipe", "override": "recipe", "to_yaml": "recipe", "describe": "recipe",
    "Dataset": "data.split", "folds": "data.split", "load_data": "data.load", "summary": "data.inspect", "inspect": "data.gate", "clean": "data.gate", "curate": "data.gate",
    "catalog": "models.search", "Catalog": "models.search", "recommend": "evaluation.recommend", "inspect_model": "models.card", "download": "models.download",
    "load_examples": "training.examples", "preflight": "training.examples", "tokens": "training.tokenview",
    "Run": "run", "open_run": "run", "runs": "run",
    "estimate": "training.memory", "prove": "training.prove",
    "train": "training.train", "launch": "training.launch", "attach": "training.launch", "resume": "training.launch", "clone": "training.launch", "request": "control",
    "monitor": "panels.monitor", "RunMonitor": "panels.monitor", "TokenPanel": "panels.tokens", "DataPanel": "panels.data", "ModelPanel": "panels.model", "wait": "follow",
    "Talk": "evaluation.talk", "Playground": "panels.playground",
    "Workbench": "panels.workbench", "DecidePanel": "panels.decide", "TrainPanel": "panels.train", "EvaluatePanel": "panels.evaluate", "AskPanel": "panels.ask", "cheaper": "evaluation.cheaper",
    "evaluate": "evaluation.evaluate", "predict": "evaluation.predict", "samples": "evaluation.samples", "write_report": "evaluation.report", "merge": "export.merge",
    "WorkbenchError": "errors",
}  # fmt: skip
__all__ = [*_home]


def __getattr__(name: str):
    "Import `name` from its home on first use (PEP 562) and keep it."
    if name not in _home: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_home[name]}"), name)
    return value


def __dir__() -> list[str]: return sorted({*globals(), *__all__})
