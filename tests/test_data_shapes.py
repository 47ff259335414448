"""Conversations, instructions, texts and pairs: every shape from every source, every fault with its place, no prompt on two sides."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.feather
import pytest

from finetune_wb.data.inspect import length_figure, summary
from finetune_wb.data.kept import keep_rows, kept_rows
from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError, ModelError, RecipeError
from finetune_wb.recipe import DataSpec, Recipe, override, to_yaml

WORDS = "harbour lantern copper meadow violin glacier pepper saddle thunder walnut compass ribbon".split()
QUESTIONS = [f"What does the {word} of {WORDS[i - 5]} mean to a {WORDS[i - 3]}?" for i, word in enumerate(WORDS)]
ANSWERS = [f"To them the {word} is a kind of {WORDS[i - 2]}." for i, word in enumerate(WORDS)]
HOSTILE = "<script>alert(1)</script> [x](javascript:1) $\\input{/etc/passwd}$ =cmd|'/c calc' \x1b[31m \u202e {{ 7*7 }}"


def user(content): return {"role": "user", "content": content}
def assistant(content): return {"role": "assistant", "content": content}
def system(content): return {"role": "system", "content": content}


def each(make): return [make(question, answer) for question, answer in zip(QUESTIONS, ANSWERS)]


PLAIN = each(lambda q, a: [user(q), assistant(a)])
RULED = [[system("Be brief."), *turns] for turns in PLAIN]
CALLED = each(lambda q, a: [user(q), {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}]},
                            {"role": "tool", "content": "seen", "tool_call_id": "1", "name": "look"}, assistant(a)])
SHAPES = {  # name → (rows as people write them, task, what the first note says, the messages that they mean)
    "messages": (each(lambda q, a: {"messages": [user(q), assistant(a)]}), "chat", 'read as messages (task chat): messages from "messages".', PLAIN),
    "messages with a system turn": (each(lambda q, a: {"id": 1, "messages": [system("Be brief."), user(q), assistant(a)]}), "chat", 'not read: "id"', RULED),
    "messages with calls": ([{"messages": turns} for turns in CALLED], "chat", "read as messages", CALLED),
    "sharegpt": (each(lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}), "chat", 'read as ShareGPT conversations (task chat): messages from "conversations".', PLAIN),
    "sharegpt and system": (each(lambda q, a: {"system": "Be brief.", "conversations": [{"from": "user", "value": q}, {"from": "assistant", "value": a}]}), "chat", 'system from "system"', RULED),
    "roles in conversations": (each(lambda q, a: {"Conversation": [user(q), assistant(a)]}), "chat", 'read as messages (task chat): messages from "Conversation".', PLAIN),
    "alpaca": (each(lambda q, a: {"instruction": "Answer.", "input": q, "output": a}), "instruction", 'read as alpaca instructions (task instruction): prompt from "instruction", completion from "output", input from "input".', each(lambda q, a: [user(f"Answer.\n\n{q}"), assistant(a)])),
    "alpaca without input": (each(lambda q, a: {"instruction": q, "input": "", "output": a}), "instruction", "alpaca", PLAIN),
    "dolly": (each(lambda q, a: {"instruction": q, "context": "", "response": a, "category": "qa"}), "instruction", 'not read: "category"', PLAIN),
    "prompt and completion": (each(lambda q, a: {"prompt": q, "completion": a}), "instruction", 'read as pairs of prompt and completion (task instruction): prompt from "prompt"', PLAIN),
    "question and answer": (each(lambda q, a: {"question": q, "answer": a}), "instruction", 'completion from "answer"', PLAIN),
    "prompt and response": (each(lambda q, a: {"system_prompt": "Be brief.", "Prompt": q, "Response": a}), "instruction", 'prompt from "Prompt", completion from "Response", system from "system_prompt"', RULED),
    "turns in prompt and completion": (each(lambda q, a: {"prompt": [user(q)], "completion": [assistant(a)]}), "instruction", "pairs of prompt", PLAIN),
}
SOURCES = ("list", "frame", "arrow table", "dataset", "jsonl", "json", "csv", "parquet", "arrow")


def as_source(rows, kind, folder):
    """The same rows as an object or a file of one kind; in csv, lists are JSON text."""
    path = folder / f"rows.{kind}"
    if kind == "list": return rows
    if kind == "frame": return pd.DataFrame(rows)
    if kind == "arrow table": return pyarrow.Table.from_pylist(rows)
    if kind == "dataset": return pytest.importorskip("datasets").Dataset.from_list(rows)
    if kind == "jsonl": path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if kind == "json": path.write_text(json.dumps(rows))
    if kind == "csv": pd.DataFrame(rows).map(lambda cell: json.dumps(cell) if isinstance(cell, list) else cell).to_csv(path, index=False)
    if kind == "parquet": pd.DataFrame(rows).to_parquet(path)
    if kind == "arrow": pyarrow.feather.write_feather(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def load(source, task="auto", **spec): return load_data(Recipe(task=task, data=DataSpec(**spec)), source)
def all_rows(data): return pd.concat([data.train, data.valid, data.test])
def in_order(rows): return sorted(rows, key=json.dumps)


def problems(source, task="auto", **spec):
    with pytest.raises(DataError) as caught: load(source, task, **spec)
    return caught.value


def chat(*turns, more=()): return [{"messages": [*turns]}, *more, *SHAPES["messages"][0]]


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_from_every_source(name, kind, tmp_path):
    rows, task, note, meant = SHAPES[name]
    if kind == "csv" and name.startswith("turns in"): return  # there a prompt is a text, whatever it looks like
    data = load(as_source(rows, kind, tmp_path), valid_fraction=0.2)
    assert data.task == task and data.label_names == () and note in data.notes[0]
    assert in_order(all_rows(data).messages) == in_order(meant)
    assert [*data.bare().train.columns] == ["messages", "origin"] and min(map(len, (data.train, data.valid, data.test))) >= 1


PAIRS = each(lambda q, a: {"messages": [user(q)], "chosen": [assistant(a)], "rejected": [assistant("I won't say.")]})
PAIR_SHAPES = {
    "texts": (each(lambda q, a: {"prompt": q, "chosen": a, "rejected": "I won't say."}), 'prompt from "prompt"'),
    "whole conversations": (each(lambda q, a: {"chosen": [user(q), assistant(a)], "rejected": [user(q), assistant("I won't say.")]}), "preference pairs of whole conversations"),
    "whole conversations beside a prompt": (each(lambda q, a: {"prompt": q, "chosen": [user(q), assistant(a)], "rejected": [user(q), assistant("I won't say.")]}), 'not read: "prompt"'),
    "sharegpt": (each(lambda q, a: {"chosen": [{"from": "human", "value": q}, {"from": "gpt", "value": a}], "rejected": [{"from": "human", "value": q}, {"from": "gpt", "value": "I won't say."}]}), "whole"),
    "answers as turns": (each(lambda q, a: {"prompt": [user(q)], "chosen": [assistant(a)], "rejected": [assistant("I won't say.")]}), 'prompt from "prompt"'),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("name", PAIR_SHAPES)
def test_preference_pairs_from_every_source(name, kind, tmp_path):
    rows, note = PAIR_SHAPES[name]
    if kind == "csv" and name == "answers as turns": return
    data = load(as_source(rows, kind, tmp_path), valid_fraction=0.2)
    assert data.task == "preference" and note in data.notes[0] and [*data.bare().train.columns] == ["messages", "chosen", "rejected", "origin"]
    assert in_order(all_rows(data.bare()).drop(columns="origin").to_dict("records")) == in_order(PAIRS)


@pytest.mark.parametrize("kind", SOURCES)
def test_plain_text_from_every_source(kind, tmp_path):
    data = load(as_source([{"text": text} for text in QUESTIONS], kind, tmp_path), valid_fraction=0.2)
    assert data.task == "completion" and sorted(all_rows(data).text) == sorted(QUESTIONS) and [*data.train.columns] == ["text", "origin"]


def test_a_pair_shares_more_than_one_turn():
    shared = [system("Be kind."), user("Hi"), assistant("Hello!"), user("How are you?")]
    rows = [{"chosen": [*shared, assistant("Fine.")], "rejected": [*shared, assistant("Go away.")]}, *PAIR_SHAPES["whole conversations"][0]]
    found = [turns for turns in all_rows(load(rows)).messages if len(turns) > 1]
    assert found == [shared]


@pytest.mark.parametrize("columns, candidates, cures", [
    (("text", "prompt", "completion"), ("instruction", "completion"), {"task=instruction": "instruction", "task=completion": "completion"}),
    (("messages", "chosen", "rejected"), ("chat", "preference"), {"task=preference": "preference"}),
    (("question", "answer", "category"), ("instruction", "classification"), {"task=instruction": "instruction", "data.completion=answer": "instruction"}),
    (("instruction", "input", "output", "text"), ("instruction", "completion"), {"data.text=text": None, "task=completion": "completion", "data.prompt=input": "instruction"}),
    (("prompt", "question", "answer"), ("prompt", "question"), {"data.prompt=question": "instruction"}),
    (("problem", "solution", "answer"), ("solution", "answer"), {"data.completion=answer": "instruction"}),
    (("question", "context", "answer"), ("context", "question"), {"data.input=context": "instruction", "data.prompt=question": "instruction"}),
    (("messages", "conversations"), ("messages", "conversations"), {"data.messages=messages": "chat"}),
])
def test_an_ambiguous_file_is_a_question(columns, candidates, cures):
    def cell(column, i):
        if column in ("messages", "conversations"): return PLAIN[i]
        if column in ("chosen", "rejected"): return [user(QUESTIONS[i]), assistant(f"{column}: {ANSWERS[i]}")]
        return "abc"[i % 3] if column == "category" else f"{column}: {QUESTIONS[i]}"
    rows = [{column: cell(column, i) for column in columns} for i in range(12)]
    asked = str(problems(rows))
    assert all(f"{candidate}" in asked for candidate in candidates) and "Say" in asked
    for cure, task in cures.items():
        if task is None: continue
        assert load_data(override(Recipe(), cure), rows).task == task


def test_text_beside_other_columns_is_a_question_with_both_ways_out():
    rows = [{"text": question, "url": f"http://example.org/{i}"} for i, question in enumerate(QUESTIONS)]
    error = str(problems(rows))
    assert "data.label=" in error and "task=completion" in error
    assert load(rows, "completion").task == "completion"
    labelled = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(QUESTIONS)]
    assert load(labelled).task == "classification" and load(labelled, "completion").notes[0].endswith('text from "text"; not read: "label".')


def test_a_task_that_does_not_fit_names_the_one_that_does():
    assert "take task=instruction, which fits" in str(problems(SHAPES["alpaca"][0], "chat"))
    assert "take task=chat, which fits" in str(problems(SHAPES["messages"][0], "instruction"))
    assert 'no column could be "rejected"' in str(problems(SHAPES["messages"][0], "preference"))
    assert "the task is chat" in str(problems("builtin:docstrings", "chat"))


def test_fields_that_a_task_does_not_read_are_refused():
    error = problems(SHAPES["messages"][0], "chat", prompt="messages", completion="nowhere")
    assert [(p.field, p.what) for p in error.problems] == [("data.prompt", "the task chat has no prompt"), ("data.completion", "the task chat has no completion")]
    assert 'Did you mean "messages"' in str(problems(SHAPES["messages"][0], "chat", messages="mesages"))
    assert "the task classification has no messages" in str(problems([{"text": "a", "label": "b"}] * 9, "classification", messages="text"))
    assert "bring their prompt along" in str(problems(PAIR_SHAPES["whole conversations beside a prompt"][0], prompt="prompt"))


TURN_FAULTS = {  # name → (turns, field, what, part of the cure)
    "a foreign role": ([{"role": "human", "content": "Hi"}, assistant("Hello")], "messages[0].role", "the role is not one of system, user, assistant, tool", 'Did you mean "user"?'),
    "another foreign role": ([user("Hi"), {"role": "gpt", "content": "Hello"}], "messages[1].role", "the role is not one of system, user, assistant, tool", 'Did you mean "assistant"?'),
    "a role in capitals": ([user("Hi"), {"role": "Assistant", "content": "Hello"}], "messages[1].role", "the role is not one of", 'Did you mean "assistant"?'),
    "a role that is no text": ([{"role": ["user"], "content": "Hi"}, assistant("Hello")], "messages[0].role", "the role is not one of", "Did you mean"),
    "no role": ([{"content": "Hi"}, assistant("Hello")], "messages[0]", 'the turn has no "role"', '"role": "user"'),
    "the other notation": ([user("Hi"), {"from": "gpt", "value": "Hello"}], "messages[1]", 'the turn has no "role"', "same notation"),
    "only user turns": ([user("Hi"), user("Hello?")], "messages", "no turn is the assistant's, so there is nothing to learn", "delete the row"),
    "only the system": ([system("Be brief.")], "messages", "there are only system turns", "delete the row"),
    "only the assistant": ([assistant("Hello")], "messages", "no turn is the user's, so there is nothing to answer", "delete the row"),
    "a late system turn": ([user("Hi"), assistant("Hello"), system("Be brief.")], "messages[2]", "a system turn comes after other turns", "first"),
    "two system turns": ([system("Be kind."), system("Be brief."), user("Hi"), assistant("Hello")], "messages[1]", "a system turn comes after other turns", "there can be one"),
    "an empty answer": ([user("Hi"), assistant("")], "messages[1].content", "the content is empty", "Fill it in"),
    "an invisible answer": ([user("Hi"), assistant("\u200b \n")], "messages[1].content", "the content holds nothing visible", "Fill it in"),
    "no content": ([user("Hi"), assistant(None)], "messages[1].content", "the content is missing", "Fill it in"),
    "a number": ([user("Hi"), assistant(4)], "messages[1].content", "the content is not text", "Write it as text"),
    "parts": ([user([{"type": "text", "text": "Hi"}]), assistant("Hello")], "messages[0].content", "the content is a list of parts", "join the text parts"),
    "half a character": ([user("Hi"), assistant("Hello \ud83d")], "messages[1].content", "the content holds a lone surrogate", "Write the character whole"),
    "a turn that is no object": ([user("Hi"), "Hello"], "messages[1]", "the turn is not an object", '"role"'),
    "a user who calls": ([{**user("Hi"), "tool_calls": [{"function": {"name": "f"}}]}, assistant("Hello")], "messages[0].tool_calls", "a user turn calls a tool", "Only the assistant"),
    "no turns": ([], "messages", "the conversation has no turns", "delete the row"),
}


@pytest.mark.parametrize("name", TURN_FAULTS)
def test_every_fault_of_a_conversation(name, tmp_path):
    turns, field, what, cure = TURN_FAULTS[name]
    rows = [*SHAPES["messages"][0][:2], {"messages": turns}, *SHAPES["messages"][0][2:]]
    path = as_source(rows, "jsonl", tmp_path)
    error = problems(path)
    assert len(error.problems) == 1
    found = error.problems[0]
    assert (found.file, found.line, found.field) == (path, 3, field) and found.what.startswith(what) and cure in found.fix
    assert problems(rows).problems[0].row == 3
    kept = load(path, bad_rows="drop")
    assert len(all_rows(kept)) == 12 and any(what in note and "line 3" in note and "left out" in note for note in kept.notes)


CELL_FAULTS = {  # name → (a row, the others' shape, field, what)
    "no conversation": ({"messages": None}, "messages", "messages", "the conversation is missing"),
    "text for a conversation": ({"messages": "hello"}, "messages", "messages", "is not JSON"),
    "Python's notation": ({"messages": "[{'role': 'user', 'content': 'Hi'}]"}, "messages", "messages", "is not JSON"),
    "cut JSON": ({"messages": '[{"role": "user", "content": "Hi"'}, "messages", "messages", "is not JSON"),
    "an object": ({"messages": {"role": "user"}}, "messages", "messages", "is not a list of turns"),
    "a number of turns": ({"messages": 7}, "messages", "messages", "is not a list of turns"),
    "sharegpt: a strange speaker": ({"conversations": [{"from": "narrator", "value": "Once"}]}, "sharegpt", "conversations[0].from", "the role is not one of human"),
    "sharegpt: no value": ({"conversations": [{"from": "human"}, {"from": "gpt", "value": "Hi"}]}, "sharegpt", "conversations[0].value", "the content is missing"),
    "sharegpt: a broken call": ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": "look()"}]}, "sharegpt", "conversations[1].value", "is not a function call"),
    "another system prompt": ({"system": "Be long.", "conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}, "sharegpt and system", "system", "the row has another system turn"),
    "an empty instruction": ({"instruction": "", "input": "x", "output": "y"}, "alpaca", "instruction", "the prompt is empty"),
    "an empty output": ({"instruction": "Say", "input": "", "output": " "}, "alpaca", "output", "the answer holds nothing visible"),
    "no answer": ({"question": "Why?", "answer": None}, "question and answer", "answer", "the answer is missing"),
    "a number for an answer": ({"question": "2 + 2?", "answer": 4}, "question and answer", "answer", "the answer is not text"),
    "a number for an input": ({"instruction": "Double", "input": 4, "output": "8"}, "alpaca", "input", "the input is not text"),
    "an answer that begins with the prompt": ({"prompt": [user("Hi")], "completion": [user("Hi"), assistant("Ho")]}, "turns in prompt and completion", "completion", "the answer does not begin with the assistant's turn"),
}


@pytest.mark.parametrize("name", CELL_FAULTS)
def test_every_fault_of_a_cell(name):
    row, shape, field, what = CELL_FAULTS[name]
    error = problems([*SHAPES[shape][0], row], {"messages": "chat", "sharegpt": "chat", "sharegpt and system": "chat"}.get(shape, "instruction"))
    assert [(p.row, p.field) for p in error.problems] == [(13, field)] and error.problems[0].what.startswith(what) and error.problems[0].fix


PAIR_FAULTS = {
    "the same answer": ({"prompt": "Why?", "chosen": "So.", "rejected": "So. "}, "texts", "rejected", "chosen and rejected are the same"),
    "an empty answer": ({"prompt": "Why?", "chosen": "So.", "rejected": ""}, "texts", "rejected", "the rejected is empty"),
    "no prompt in the row": ({"prompt": None, "chosen": "So.", "rejected": "No."}, "texts", "prompt", "the prompt is missing"),
    "other prompts": ({"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]}, "whole conversations", "rejected", "chosen and rejected share no prompt"),
    "one begins the other": ({"chosen": [user("a"), assistant("b")], "rejected": [user("a")]}, "whole conversations", "rejected", "one of chosen and rejected is the beginning"),
    "they part at the user": ({"chosen": [user("a"), assistant("b"), user("c"), assistant("d")], "rejected": [user("a"), assistant("b"), user("e"), assistant("f")]}, "whole conversations", "rejected", "chosen and rejected do not both go on"),
    "the same conversation": ({"chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("b")]}, "whole conversations", "rejected", "chosen and rejected are the same"),
    "an end that is the user's": ({"chosen": [user("a"), assistant("b"), user("c")], "rejected": [user("a"), assistant("d")]}, "whole conversations", "rejected", "chosen or rejected does not end"),
    "a strange role": ({"chosen": [user("a"), {"role": "bot", "content": "b"}], "rejected": [user("a"), assistant("d")]}, "whole conversations", "chosen[1].role", "the role is not one of"),
}


@pytest.mark.parametrize("name", PAIR_FAULTS)
def test_every_fault_of_a_pair(name):
    row, shape, field, what = PAIR_FAULTS[name]
    error = problems([*PAIR_SHAPES[shape][0], row])
    assert [(p.row, p.field) for p in error.problems] == [(13, field)] and error.problems[0].what.startswith(what) and error.problems[0].fix


def test_equal_answers_are_listed_row_by_row():
    rows = each(lambda q, a: {"prompt": q, "chosen": a, "rejected": a})
    error = problems([*rows, *rows])
    assert len(error.problems) == 20 and error.more == 4 and [p.row for p in error.problems] == [*range(1, 21)]
    assert "no row is left" in str(problems(rows, bad_rows="drop"))


def test_answers_without_a_prompt_are_one_problem():
    error = problems([{"chosen": a, "rejected": "No."} for a in ANSWERS])
    assert len(error.problems) == 1 and "no column is the prompt" in str(error) and error.problems[0].field == "data.prompt"


def test_true_and_false_beside_answers_are_not_taught_as_good():
    rows = [{"prompt": q, "completion": a, "label": i % 2 == 0} for i, (q, a) in enumerate(zip(QUESTIONS, ANSWERS))]
    assert "KTO data" in str(problems(rows))
    assert len(all_rows(load(rows, completion="completion"))) == 12


def test_all_problems_of_all_splits_at_once(tmp_path):
    bad = [{"messages": [user(q)]} for q in QUESTIONS]
    for split in ("train", "test"): (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bad))
    error = problems(str(tmp_path))
    assert len(error.problems) == 20 and error.more == 4 and {Path(p.file).name for p in error.problems} == {"train.jsonl", "test.jsonl"}
    (tmp_path / "test.jsonl").write_text("".join(json.dumps({"chat": row["messages"]}) + "\n" for row in SHAPES["messages"][0]))
    assert 'the column of the train split is missing here. Known: chat' in str(problems(str(tmp_path)))


def test_odd_rows_are_noted_and_kept():
    odd = [{"messages": turns} for turns in ([user("Hi"), user("there"), assistant("Hello")], [user("Who?"), {**assistant("Me"), "weight": 0}, user("Thanks")],
                                            [assistant("Welcome"), user("Hm"), assistant("Yes?")], [user("a b"), user("c d"), assistant("e f")])]
    data = load([*SHAPES["messages"][0], *odd])
    assert len(all_rows(data)) == 16
    for note in ("2 rows have two user turns in a row (the first on row 13)", "1 row has a last turn that is the user's, after which nothing is learnt (row 14)",
                 'the key "weight" in a turn, which was not read (row 14)', "a first turn that is the assistant's (row 15)"):
        assert any(note in said for said in data.notes), note


def test_tools_pass_through(tmp_path):
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    rows = [{"messages": turns, "tools": tools} for turns in CALLED]
    for source in (rows, as_source(rows, "csv", tmp_path), as_source(rows, "jsonl", tmp_path)):
        data = load(source)
        assert [*data.train.columns] == ["messages", "tools", "origin"] and data.train.tools[0] == tools and data.train.messages[0] in CALLED
    rows[3]["tools"], rows[4]["tools"] = None, []
    assert sum(value is None for value in all_rows(load(rows)).tools) == 2
    rows[3]["tools"] = "hammer"
    assert problems(rows).problems[0].what == "is not a list of tools"


def test_hostile_text_stays_text(tmp_path):
    rows = [*each(lambda q, a: {"question": f"{HOSTILE} {q}", "answer": f"{a} {HOSTILE}"})]
    rows[0]["answer"] = '[{"role": "system", "content": "obey"}]'  # looks like turns; the shape says text
    for kind in SOURCES:
        data = load(as_source(rows, kind, tmp_path))
        assert in_order(all_rows(data).messages) == in_order([[user(row["question"]), assistant(row["answer"])] for row in rows])
    pairs = [{"prompt": row["question"], "chosen": row["answer"], "rejected": "No."} for row in rows]
    assert assistant(rows[0]["answer"]) in [turns[0] for turns in all_rows(load(as_source(pairs, "csv", tmp_path))).chosen]
    named = load([{"messages": turns, HOSTILE: 1} for turns in PLAIN])
    assert "<script>" not in named._repr_html_() and "\x1b" not in named._repr_html_() + "".join(named.notes)
    error = str(problems(chat({"role": HOSTILE, "content": HOSTILE}, assistant("a"))))
    assert "\x1b" not in error and "\u202e" not in error


def test_one_prompt_stays_on_one_side():
    rows = [{"question": q, "answer": f"{start} {a}"} for q, a in zip(QUESTIONS, ANSWERS) for start in ("Well,", "No idea, ask the", "A long story, and an old one, which nobody tells any more: once")]
    data = load(rows, valid_fraction=0.2)
    asked = [{turns[0]["content"] for turns in part.messages} for part in (data.train, data.valid, data.test)]
    assert sum(map(len, asked)) == len(set.union(*asked)) == 12
    assert any(note.startswith("36 rows are copies or near copies of others, or answer the same prompt, in ") for note in data.notes)
    pairs = [{"prompt": q, "chosen": a, "rejected": f"{n} is none of it"} for n in range(3) for q, a in zip(QUESTIONS, ANSWERS)]
    data = load(pairs, valid_fraction=0.2)
    asked = [{turns[0]["content"] for turns in part.messages} for part in (data.train, data.valid, data.test)]
    assert sum(map(len, asked)) == len(set.union(*asked)) == 12


def test_given_splits_are_kept_and_copies_reported():
    rows = SHAPES["question and answer"][0]
    data = load({"train": rows[:9], "test": rows[8:]}, valid_fraction=0.2)
    assert len(data.test) == 4 and any("1 of 4 test rows are near copies of train rows or answer their prompts (1 of them copies)" in note for note in data.notes)
    assert "measure memory" in str(problems({"train": rows, "test": rows[:3]}))
    assert "holds 2 rows. At least three different rows" in str(problems(rows[:2]))
    assert "its 5 rows hold 1 different text. At least three different rows" in str(problems(rows[:1] * 5))


def test_rows_and_fingerprints_do_not_depend_on_the_file(tmp_path):
    rows = SHAPES["alpaca"][0]
    first, *others = [load(as_source(rows, kind, tmp_path)) for kind in ("jsonl", "csv", "parquet", "list")]
    for other in others: assert (other.fingerprint, other.split_fingerprint) == (first.fingerprint, first.split_fingerprint)
    assert load(rows[::-1]).split_fingerprint != first.split_fingerprint and load(rows, seed=1).fingerprint == first.fingerprint
    assert {turns[0]["content"] for turns in load(rows[::-1]).test.messages} == {turns[0]["content"] for turns in first.test.messages}
    assert len(all_rows(load([*rows, *SHAPES["alpaca without input"][0]], max_rows=10))) == 10


@pytest.mark.parametrize("rows", [SHAPES["messages with calls"][0], PAIR_SHAPES["texts"][0], [{"text": text} for text in QUESTIONS]], ids=["chat", "preference", "completion"])
def test_kept_rows_come_back_as_they_were(rows, tmp_path):
    data = load(rows)
    keep_rows(data, tmp_path)
    again = kept_rows(tmp_path)
    assert (again.task, again.notes, again.fingerprint) == (data.task, data.notes, data.fingerprint)
    for split in ("train", "valid", "test"): assert getattr(again, split).to_dict("records") == getattr(data, split).to_dict("records")


def test_summary_of_conversations():
    data = load([*SHAPES["messages with calls"][0], *SHAPES["messages with a system turn"][0]])
    table = summary(data)
    assert table["rows"].sum() == 24 and table["system turns"].sum() == 12 and table["turns, most"].max() == 4
    assert summary(data.development()).loc["test"].sum() == 0 and length_figure(data).axes
    pairs = summary(load(PAIR_SHAPES["texts"][0]))
    assert pairs["chosen is longer"].sum() == 12 and pairs.loc["train", "rejected characters, median"] == len("I won't say.")
    assert summary(load([{"text": text} for text in QUESTIONS]))["rows"].sum() == 12


def test_very_long_rows_load():
    data = load([{"messages": [user(q), assistant("word " * 100_000)]} for q in QUESTIONS])
    assert summary(data)["characters, most"].max() > 500_000


def test_a_recipe_keeps_the_fields():
    recipe = override(Recipe(), "task=preference", "data.prompt=ask", "data.chosen=good", "data.rejected=bad", "data.system=rules")
    assert "task: preference" in to_yaml(recipe) and recipe.data.chosen == "good"
    rows = [{"ask": row["prompt"], "good": row["chosen"], "bad": row["rejected"], "rules": "Be brief."} for row in PAIR_SHAPES["texts"][0]]
    assert load_data(recipe, rows).train.messages[0][0] == system("Be brief.")
    with pytest.raises(RecipeError, match="task"): override(Recipe(), "task=chatting")


@pytest.mark.parametrize("task", ["auto", "chat"])
def test_a_model_that_can_not_write_is_refused_and_leaves_nothing(task, tmp_path, tiny_model):
    from finetune_wb.training.train import train
    recipe = override(Recipe(), f"model.id={tiny_model('bert')}", f"task={task}")
    with pytest.raises(ModelError, match="is an encoder"): train(recipe, SHAPES["messages"][0], runs_dir=tmp_path / "runs")
    assert not [*(tmp_path / "runs").glob("*")]


def test_the_command_shows_the_data(tmp_path):
    as_source([*SHAPES["sharegpt"][0], {"conversations": [{"from": "human", "value": "Hi \x1b[31m"}]}], "jsonl", tmp_path)
    (tmp_path / "recipe.yaml").write_text("data:\n  source: rows.jsonl\n  bad_rows: drop\n")
    def ftwb(*words): return subprocess.run([sys.executable, "-c", "from finetune_wb.cli import main; main()", "data", "recipe.yaml", *words], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    shown = ftwb()
    assert shown.returncode == 0 and "turns, median" in shown.stdout and "read as ShareGPT conversations (task chat)" in shown.stdout
    refused = ftwb("data.bad_rows=error")
    assert refused.returncode == 2 and 'ERROR rows.jsonl, line 13, field "conversations": no turn is the assistant\'s' in refused.stderr
    assert "Traceback" not in refused.stderr and "\x1b" not in refused.stderr


GSM8K = Path(__file__).parent.parent.parent / "shared/data/gsm8k"


@pytest.mark.shared_data
@pytest.mark.skipif(not GSM8K.is_dir(), reason="the benchmark data is not beside the project")
def test_gsm8k():
    data = load(str(GSM8K))
    assert data.task == "instruction" and (len(data.train) + len(data.valid), len(data.test)) == (7473, 1319)
    first = json.loads((GSM8K / "test.jsonl").read_text().splitlines()[0])
    assert data.test.messages[0] == [user(first["question"]), assistant(first["answer"])] and data.test.origin[0] == "test.jsonl:1"
    assert summary(data)["turns, most"].tolist() == [2, 2, 2]


TEXT_FAULTS = {"": "the text is empty", " \n": "the text holds nothing visible", None: "the text is missing", "a \udc00": "the text holds a lone surrogate, half a character"}


@pytest.mark.parametrize("text", TEXT_FAULTS)
def test_every_fault_of_a_text(text, tmp_path):
    rows = [*({"text": text} for text in QUESTIONS), {"text": text}]
    for source in (rows, as_source(rows, "jsonl", tmp_path), *([pd.DataFrame(rows)] if text != "a \udc00" else [])):
        assert [p.what for p in problems(source).problems] == [TEXT_FAULTS[text]]
    assert len(all_rows(load(rows, bad_rows="drop"))) == 12


JUNK = (None, "", " ", "\u200b", "hi", "[", "[]", "[1]", '[{"role": "user"}]', "{}", 0, 1.5, True, float("nan"), [], {}, [None], [[]], [{}], [{"role": None}], [{"from": 3}], {"role": "user"}, b"raw", (1,),
        [user("a"), assistant("b")], [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], [{**assistant("b"), "tool_calls": 7, "name": []}], [{"role": "user", "content": {"a": [1]}}], HOSTILE)


@pytest.mark.parametrize("task", ["auto", "chat", "instruction", "completion", "preference", "classification"])
def test_junk_is_read_or_refused_and_never_a_crash(task):
    """Whatever stands in a cell, the answer is rows or a `DataError`."""
    draw, parts = random.Random(task), ("messages", "prompt", "completion", "instruction", "input", "output", "chosen", "rejected", "text", "system", "tools", "label")
    refused = 0
    for _ in range(150):
        columns = draw.sample(parts, draw.randint(1, 4))
        rows = [{column: draw.choice(JUNK) for column in columns} for _ in range(draw.randint(1, 5))]
        try: load([*rows, *draw.choice([*(shape[0] for shape in SHAPES.values()), *(shape[0] for shape in PAIR_SHAPES.values())])], task, bad_rows=draw.choice(["error", "drop"]))
        except DataError as error: refused += bool(str(error))
    assert refused > 75


def test_a_broken_first_row_does_not_hide_the_notation():
    rows = [{"conversations": [{"value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, *SHAPES["sharegpt"][0]]
    assert [(p.row, p.what) for p in problems(rows).problems] == [(1, 'the turn has no "from"')]


def test_shards_are_said_once_and_share_columns(tmp_path):
    for i in range(3): (tmp_path / f"train-{i}-of-3.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SHAPES["alpaca"][0][i::3]))
    data = load(str(tmp_path))
    assert len(all_rows(data)) == 12 and sum("read as" in note for note in data.notes) == 1
