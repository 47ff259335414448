"""A listing with what a model panel has to cope with, and cards that are read once. Not a test file."""

from functools import cache

from finetune_wb.models.card import inspect_model
from finetune_wb.models.catalog import CATALOG
from finetune_wb.models.listing import Listed

HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>\x1b[31m\u202eevil\u202c\u200b\ud800"
LINES = [
    Listed("someone/tiny", "hub", "text-generation", "text", "apache-2.0", 14 * 10**6, ("en",), 900, 30, updated="2026-01-02"),
    Listed("someone/pictures", "hub", "image-classification", "vision", "mit", 86 * 10**6, (), 700),
    Listed("someone/closed", "hub", "text-classification", "text", "cc-by-nc-4.0", 110 * 10**6, ("en", "de"), 500, gated=True),
    Listed(f"evil/{HOSTILE}", "hub", HOSTILE, None, HOSTILE, None, (HOSTILE,), 3, note=HOSTILE),
]
MANY = [Listed(f"many/model-{i:03}", "hub", "text-generation", "text", "apache-2.0", 10**6 * (i + 1), (), 400 - i) for i in range(60)]


@cache
def _card(*arguments, **options): return inspect_model(*arguments, **options)


def read_once(id, *arguments, **options):
    """The card of an embedded model does not change while tests run, and takes seconds."""
    return (_card if id in CATALOG else inspect_model)(id, *arguments, **options)
