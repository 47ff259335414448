"""Personal data and secrets: what is found of 1,976 labelled rows, what is left alone, what hostile rows cost, and that nothing found is ever shown."""
import csv
import json
import logging
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from privacy_rows import read_rows, scored

from finetune_wb.data.findings import rows_of
from finetune_wb.data.gate import inspect
from finetune_wb.data.identifiers import IDENTIFIERS
from finetune_wb.data.ledger import apply
from finetune_wb.data.patterns import THINGS, UNSEEN, find_spans
from finetune_wb.data.privacy import find_personal_data, presidio
from finetune_wb.data.secrets import SECRETS
from finetune_wb.data.spans import Span, replaced
from finetune_wb.data.split import Dataset
from finetune_wb.errors import DataError

DATA = Path(__file__).parents[2] / "shared" / "data"
ROWS = read_rows()
TEXTS = [row["text"] for row in ROWS]


@pytest.fixture(scope="module")
def found() -> dict[int, list[tuple[int, int, str]]]:
    return {i: [(span.start, span.end, span.thing) for span in spans] for i, spans in find_spans(TEXTS).items()}


def of(part: str, found: dict) -> tuple[list[dict], dict]:
    places = [i for i, row in enumerate(ROWS) if row["part"] == part]
    return [ROWS[i] for i in places], {new: found[i] for new, i in enumerate(places) if i in found}


def dataset(texts: list[str], labels: list[str] | None = None) -> Dataset:
    frame = pd.DataFrame({"text": texts, "label": labels or ["a", "b"] * (len(texts) // 2) + ["a"] * (len(texts) % 2), "origin": [f"mail.csv:{i + 2}" for i in range(len(texts))]})
    return Dataset(frame, frame[:0], frame[:0], tuple(sorted(set(frame["label"]))), "", "", (), "mail.csv")


def talks(*conversations, **columns) -> Dataset:
    frame = pd.DataFrame({"messages": list(conversations), **columns, "origin": [f"chats.jsonl:{i + 1}" for i in range(len(conversations))]})
    return Dataset(frame, frame[:0], frame[:0], (), "", "", (), "chats.jsonl", "preference" if columns else "chat")


def turn(role: str, content: str, **more) -> dict: return {"role": role, "content": content, **more}


# What is found

@pytest.mark.parametrize("part", ["hand", "dev", "held_out"])
def test_what_has_a_form_is_found_and_little_else(part, found):
    rows, spans = of(part, found)
    score = scored(rows, spans)
    assert score["recall"] >= 0.98 and score["precision"] >= 0.95 and score["touched"] <= 0.02 * score["clean"]
    formed = {thing: figures for thing, figures in score["each"].items() if thing not in ("name", "address")}
    assert sum(figures[0] for figures in formed.values()) == {"hand": 60, "dev": 420, "held_out": 756}[part]
    assert not {thing: figures for thing, figures in formed.items() if figures[0] >= 10 and figures[1] < 0.95}


def test_what_is_found_has_the_right_name(found):
    named = Counter(max((label for label in row["spans"] if label[0] < end and start < label[1]), default=(0, 0, None))[2] == thing for i, row in enumerate(ROWS) for start, end, thing in found.get(i, []))
    assert named[True] >= 0.97 * named.total()


def test_names_and_addresses_are_seen_in_part_and_findings_say_so(found):
    score = scored(ROWS, found)["each"]
    assert 0.3 < score["name"][1] < 0.8 and 0.05 < score["address"][1] < 0.5 and score["name"][3] > 0.95 and score["address"][3] > 0.95
    findings = find_personal_data(rows_of(dataset(TEXTS)))
    assert all(UNSEEN in finding.fix for finding in findings if finding.kind == "personal_data")


@pytest.mark.parametrize("thing", [thing.name for thing in IDENTIFIERS if thing.name not in ("us_ssn", "uk_nino", "in_pan")])
def test_a_wrong_check_digit_is_no_identifier(thing):
    "The labelled numbers were made by Faker and python-stdnum; of each, one character is exchanged."
    numbers = [row["text"][start:end] for row in ROWS for start, end, name in row["spans"] if name == thing]
    assert numbers
    turned = str.maketrans("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", "1234567890BCDEFGHIJKLMNOPQRSTUVWXYZA")
    for number in numbers[:20]:
        cue = {"pl_pesel": "PESEL ", "br_cpf": "CPF ", "de_tax_id": "Steuer-ID ", "nl_bsn": "BSN ", "uk_nhs": "NHS ", "pt_nif": "NIF ", "ca_sin": "SIN ", "in_aadhaar": "Aadhaar ", "card": "card "}.get(thing, "")
        assert thing in {span.thing for span in find_spans([cue + number]).get(0, ())}
        assert thing not in {span.thing for span in find_spans([cue + number[:-1] + number[-1].upper().translate(turned)]).get(0, ())}


@pytest.mark.parametrize("text, thing", [
    ("vpn for j.doe@corp.example", "email"), ("İletişim: ayşe@örnek.example", "email"), ("Kontakt: иван@почта.рф", "email"), ("call me, 415.555.2671 ok?", "phone"), ("tel:+14155552671", "phone"),
    ("+49 (0) 30 / 901 820", "phone"), ("(0171) 2345678", "phone"), ("IBAN fr76 3000 6000 0112 3456 7890 189", "iban"), ("card: 6011 0009 9013 9424", "card"), ("4222222222222 is my card", "card"),
    ("[2001:db8:85a3::8a2e:370:7334]:443", "ip"), ("ip=198.51.100.23;", "ip"), ("::ffff:203.0.113.9", "ip"), ("AIza" + "Sy" * 17 + "x", "google_key"), ("xoxp-" + "1234567890-" * 3 + "abcdef", "slack_token"),
    ('{"pass' + 'word": "hunter2!"}', "password"), ("Authorization: Basic " + "dXNlcjpodW50ZXIyMTIz", "credential"), ("mongodb+srv://u:" + "p4ss%40word@cluster0.acme.io", "url_credentials"),
    ("AWS_SECRET_ACCESS_KEY=" + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzKEY1", "credential"), ("-----BEGIN OPENSSH " + "PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\\n-----END OPENSSH " + "PRIVATE KEY-----", "private_key"),
    ("gateway fe80::1%eth0", "ip"), ("route 10.0.0.1/8", "ip"), ("[2001:db8::7]", "ip"), ("my credit card: 122000000000003", "card"), ("DNI 1234567L", "es_dni"), ("registry/:_authToken=" + "0f3b294a-cd03-11ec-9d64", "credential"),
    ("'the" + "secret': '{{k}e)y${o]f(my[house>-_$#thatone}}'", "credential"), ("my_pass" + "word = @'a{b}c(d)e!'", "password"), ("eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkw", "jwt"), ("bot110201543:" + "AAHdqTcvCH1vGWJxfSe1ofSAs0K5PALDsaw", "telegram_token"),
])  # fmt: skip
def test_spellings(text, thing): assert [span.thing for span in find_spans([text])[0]] == [thing]


@pytest.mark.parametrize("text", [
    "Python 3.11.7, torch 2.13.0+cpu, driver 535.104.05.01", "SELECT * FROM t WHERE id = 1234567890123", "1.2.3.4 is section four", "12:30:45 and 00:1A:2B:3C:4D:5E", "a::b::c in C++", "x = 100-200-300 = -400",
    "def login(password: str, token: str) -> None:", 'os.environ["SECRET_KEY"]', "password: <your password here>", "tokens: 1,048,576 per second", "https://example.org/a/b?page=1234567", "0.1234567890123456", "@user mentioned @other",
    "2026-11-21T12:30:45.123456Z", "3.14159265358979", "call f(1234567890)", "sk-learn and task-force", "The key is under the mat, basic as it is.", "row 4111 of 1111 has 1111 errors", "model-00001-of-00002.safetensors", "eyJ is how tokens begin", "Decimal('-86087.7578') + 35236450.6", "h * 69069 + 907133923", "digits = '0123456789'", "aix-6107-1415-32", "mask 255.255.255.0",
    "password: {{ db_password }}", "my_password = foo(hey)you", "token = request.json_body['token1']", "pwd = (self.password.encode('utf-8'))", "$password = $input;", "2001::db8::1", "684D:1111:222:3333:4444:5555:77", "//registry/:_auth=${AUTH_TOKEN_2}", "078 00 1123", "693-09.4444",
])  # fmt: skip
def test_lookalikes(text): assert find_spans([text]) == {}


# What is left alone

def test_of_python_sources_only_authors_and_addresses_are_found():
    "Code is full of numbers, versions, hashes and passwords that are variables; the standard library names its authors, and `ipaddress` has examples."
    lines = [line for file in sorted(Path(json.__file__).parents[1].glob("*.py")) for line in file.read_text(encoding="utf-8", errors="replace").split("\n")]
    things = Counter(span.thing for spans in find_spans(lines).values() for span in spans)
    assert len(lines) > 50_000 and sum(things[thing] for thing in things if thing not in ("email", "ip")) <= 3, things


@pytest.mark.parametrize("name", ["banking77", "clinc150", "gsm8k"])
def test_public_data_is_not_touched(name):
    if not (DATA / name).is_dir(): pytest.skip(f"the rows of {name} are not on this machine")
    if name == "banking77": texts = [row["text"] for part in ("train", "test") for row in csv.DictReader((DATA / name / f"{part}.csv").open(encoding="utf-8"))]
    elif name == "clinc150": texts = [row[0] for rows in json.loads((DATA / name / "data_full.json").read_text()).values() for row in rows]
    else: texts = ["{question}\n{answer}".format(**json.loads(line)) for part in ("train", "test") for line in (DATA / name / f"{part}.jsonl").open(encoding="utf-8")]
    assert len(texts) > 8_000 and len(find_spans(texts)) <= 2


# What hostile rows cost. None is timed: at a square of their length these would run for hours.

HOSTILE = ["@", "a@", "a", "a@b.", "a.", "1", "1 ", "12 ", "4111 ", "123-", "sk-", "eyJ", "eyJaaaaaaaaaaa.", "-----BEGIN PRIVATE " + "KEY-----", "password=", "password: ", "token is ", "http://a:", "a://", "::", "1.", "1.1.1.1.", "a (at) ", "+1 ", "cap A ", "Aaaa ", "12 Aaaa Aaaa ",
           "Via A ", "1 rue de la ", "my name is A ", "DE89 ", "ab12", "bearer ", "xoxb-", "(", "(1", "0 ", "RSSMRA85", "\n", "1\n", "FlyV1 a,", "-----BEGIN PRIVATE " + "KEY-----\n" + "A" * 64, "\u202e\x00", "\ud800"]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_rows_cost_what_they_are_long(piece): assert isinstance(find_spans([piece * (60_000 // len(piece))]), dict)


def test_letters_that_only_look_like_ours_break_nothing():
    "Case-insensitive patterns also match the Kelvin sign and the dotless i, and digits are digits in forty scripts."
    import random
    rng, odd = random.Random(0), "K\u212aı İſ٣४５²①\u200b\u202e\x00ßﬁ’–—…«»"
    texts = []
    for row in ROWS[::3]:
        letters = list(row["text"])
        for _ in range(3): letters[rng.randrange(len(letters))] = rng.choice(odd)
        texts.append("".join(letters))
    texts += [text.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")) for text in TEXTS[::5]] + [text.replace("K", "\u212a").replace("I", "İ").replace("S", "ſ") for text in TEXTS[::2]]
    findings = find_personal_data(rows_of(dataset(texts)))
    assert findings and all(all(" " <= c for c in seen) for finding in findings for _, seen in finding.evidence)


def test_a_row_of_fifty_megabytes_and_a_million_ats():
    text = "word and word, " * 3_400_000 + "jane@example.org"
    assert len(text) > 50_000_000 and find_spans([text]) == {0: [Span(len(text) - 16, len(text), "email")]}
    assert find_spans(["@" * 1_000_000, "a@b.co " * 100_000]).keys() == {1}


# Nothing is shown

def test_nothing_found_is_ever_shown(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    labelled = [(row["text"][start:end], thing) for row in ROWS for start, end, thing in row["spans"]]
    findings = find_personal_data(rows_of(dataset(TEXTS)))
    shown = "\n".join([str(findings), *map(str, findings), *(str(finding.evidence) for finding in findings), *(str(finding.scores) for finding in findings), caplog.text, *capsys.readouterr()])
    assert {finding.kind for finding in findings} == {"personal_data", "secret"} and len(findings) > 30
    assert not [value for value, _ in labelled if len(value) > 5 and value in shown]
    assert all(len(finding.evidence) <= 20 and len(finding.rows) == len(set(finding.rows)) == len(finding.scores) for finding in findings)
    with pytest.raises(DataError) as error: find_personal_data(rows_of(dataset(TEXTS)), things=["emails"])
    assert not [value for value, _ in labelled if len(value) > 5 and value in str(error.value)]


def test_hostile_evidence_is_harmless():
    [finding] = find_personal_data(rows_of(dataset(["\u202e\x1b[31m jane@example.org", "ok"])))
    assert "\x1b" not in str(finding.evidence) and "\u202e" not in str(finding.evidence)


# Cures

@pytest.mark.parametrize("cure", ["redact", "pseudonymise"])
def test_cures_leave_nothing_and_agree_with_each_other(cure):
    before = dataset(TEXTS)
    after = before
    for finding in find_personal_data(rows_of(before)): after = apply(after, finding.cures[cure], finding.kind)
    together = apply(before, [change for finding in find_personal_data(rows_of(before)) for change in finding.cures[cure]])
    assert after.train["text"].tolist() == together.train["text"].tolist()
    assert find_spans(after.train["text"].tolist()) == {} and len(after.train) == len(before.train)
    touched = {finding for found in find_personal_data(rows_of(before)) for finding in found.rows}
    assert all(new == old for new, old, row in zip(after.train["text"], before.train["text"], before.train["origin"]) if row not in touched)


def test_drop_drops():
    mails = dataset(["mail jane@example.org", "hello there", "good morning", "call +44 20 7946 0958 or jane@example.org"])
    email, phone = find_personal_data(rows_of(mails))
    assert apply(mails, [*email.cures["drop"], *phone.cures["redact"]]).train["text"].tolist() == ["hello there", "good morning"]
    assert list(email.cures) == ["redact", "pseudonymise", "drop"] and email.severity == "warning" and email.what == "e-mail addresses in 2 rows"


def test_the_same_value_is_the_same_stand_in_in_every_split_and_column():
    data = talks([turn("user", "I am JANE@example.org, 020 7946 0958"), turn("assistant", "Hi")])
    data = Dataset(data.train, talks([turn("user", "jane@example.org?"), turn("assistant", "call +44 20 7946 0958")]).train.assign(origin="v:1"), talks([turn("user", "bob@example.org"), turn("assistant", "jane@example.org")]).train.assign(origin="t:1"), (), "", "", (), "", "chat")
    after = apply(data, [change for finding in find_personal_data(rows_of(data)) for change in finding.cures["pseudonymise"]])
    texts = [[t["content"] for t in getattr(after, split)["messages"].iloc[0]] for split in ("train", "valid", "test")]
    assert texts == [["I am <EMAIL_1>, <PHONE_1>", "Hi"], ["<EMAIL_1>?", "call <PHONE_1>"], ["<EMAIL_2>", "<EMAIL_1>"]]


def test_stand_ins_of_an_earlier_cure_are_not_given_to_others():
    mails = dataset(["jane@example.org", "bob@example.org"])
    first = apply(mails, [change for finding in find_personal_data(rows_of(mails)) for change in finding.cures["pseudonymise"]][:1])
    [later] = find_personal_data(rows_of(first))
    assert first.train["text"].tolist()[0] == "<EMAIL_1>" and later.cures["pseudonymise"][0].value == "<EMAIL_2>"


def test_a_whole_row_is_cured_whichever_finding_is_clicked():
    mails = dataset(["jane@example.org has AK" + "IA" + "Z7" * 8, "hello"])
    values = {finding.cures["redact"][0].value for finding in find_personal_data(rows_of(mails))}
    assert values == {"[EMAIL] has [AWS_KEY]"}


def test_turns_calls_and_pairs_keep_their_shape():
    call = {"id": "call_4111111111111111", "type": "function", "function": {"name": "send_mail", "arguments": {"to": ["jane@example.org", {"cc": "john@example.org"}], "n": 3, "card": 4111111111111111, "ok": True, "none": None, "jane@example.org": 1, "john@example.org": 2, "password": "swordfish1"}}}
    text = {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": json.dumps({"iban": "DE89 3704 0044 0532 0130 00", "api_key": "a1b2c3d4e5f6a7b8", "q": 'say "hi"'})}}
    turns = [turn("system", "Be kind."), turn("user", "pay"), turn("assistant", "", tool_calls=[call, text]), turn("tool", "sent to jane@example.org", tool_call_id="call_4111111111111111"), turn("assistant", "Done, 4111 1111 1111 1111.")]
    pair = {"chosen": [[turn("assistant", "jane@example.org")]], "rejected": [[turn("assistant", "no, +44 20 7946 0958")]]}
    data = talks(turns, **pair)
    after = apply(data, [change for finding in find_personal_data(rows_of(data)) for change in finding.cures["redact"]]).train
    new = after["messages"].iloc[0]
    assert [t["role"] for t in new] == [t["role"] for t in turns] and new[3]["tool_call_id"] == new[2]["tool_calls"][0]["id"] == "call_4111111111111111"
    assert new[2]["tool_calls"][0]["function"] == {"name": "send_mail", "arguments": {"to": ["[EMAIL]", {"cc": "[EMAIL]"}], "n": 3, "card": "[CARD]", "ok": True, "none": None, "[EMAIL]": 1, "[EMAIL]_": 2, "password": "[PASSWORD]"}}
    assert json.loads(new[2]["tool_calls"][1]["function"]["arguments"]) == {"iban": "[IBAN]", "api_key": "[CREDENTIAL]", "q": 'say "hi"'}
    assert (new[3]["content"], new[4]["content"]) == ("sent to [EMAIL]", "Done, [CARD].")
    assert (after["chosen"].iloc[0][0]["content"], after["rejected"].iloc[0][0]["content"]) == ("[EMAIL]", "no, [PHONE]")
    assert turns[3]["content"] == "sent to jane@example.org"  # the rows that were given are as they were


def test_what_may_stay_stays():
    rows = rows_of(dataset(["help@bank.example or +44 20 7946 0958", "jane@example.org, (020) 7946 0958", "BSN 111222333", "hello"]))
    assert [finding.rows for finding in find_personal_data(rows, allow=["@bank.example", "020 7946 0958"])] == [("mail.csv:3",), ("mail.csv:4",)]
    [finding] = find_personal_data(rows, things=["email"], allow=["JANE@example.org"])
    assert finding.rows == ("mail.csv:2",) and "[EMAIL]" in finding.cures["redact"][0].value and "[PHONE]" not in finding.cures["redact"][0].value
    assert "nl_bsn" not in {span.thing for spans in find_spans(["BSN 111222333"], regions=("US",)).values() for span in spans}


def test_no_rows_and_nothing_to_say():
    assert find_personal_data(rows_of(dataset(["hello", "good morning"]))) == []
    assert find_personal_data(rows_of(talks([turn("user", "hi"), turn("assistant", "hello")]))) == []


def test_every_thing_has_a_name_that_can_be_a_placeholder():
    assert len(THINGS) == len(IDENTIFIERS) + len(SECRETS) + 5
    assert all(name.isidentifier() and name.islower() and thing.kind in ("personal_data", "secret") for name, thing in THINGS.items())
    assert find_spans([replaced("x", [Span(0, 1, name)], lambda thing, _: f"[{thing.upper()}]") for name in THINGS]) == {}


# presidio

class Analyzer:
    "What `presidio_analyzer.AnalyzerEngine` answers, for one name."
    def analyze(self, text, language, entities, score_threshold):
        from types import SimpleNamespace
        found = [SimpleNamespace(start=at, end=at + 10, entity_type=kind, score=0.85) for kind, name in (("PERSON", "Mary Stone"), ("LOCATION", "Winterfell")) if (at := text.find(name)) >= 0]
        return [one for one in found if one.entity_type in entities and one.score >= score_threshold]


def test_a_recogniser_of_unknown_things_is_refused():
    with pytest.raises(DataError, match="no name here"): find_personal_data(rows_of(dataset(["hello", "you"])), recognise=lambda text: [Span(0, 2, "blood_type")])


def test_presidio_sees_names_beside_ours():
    rows = rows_of(dataset(["Mary Stone of Winterfell, mary@example.org", "hello"]))
    findings = find_personal_data(rows, recognise=presidio(Analyzer()))
    assert {finding.what for finding in findings} == {"names in 1 row", "postal addresses in 1 row", "e-mail addresses in 1 row"}
    assert findings[0].cures["redact"][0].value == "[NAME] of [ADDRESS], [EMAIL]"
    assert [f.what for f in find_personal_data(rows, recognise=presidio(Analyzer(), entities=["PERSON"]), things=["name"])] == ["names in 1 row"]
    assert not find_personal_data(rows, things=["name"], recognise=presidio(Analyzer(), threshold=0.9))
    with pytest.raises(DataError, match="no entity"): presidio(Analyzer(), entities=["DATE_TIME"])


def test_without_presidio_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(DataError, match=r"finetune_wb\[presidio\]"): presidio()


def test_real_presidio():
    pytest.importorskip("presidio_analyzer", reason="the extra presidio is not installed")
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NoOpNlpEngine
    analyzer = AnalyzerEngine(nlp_engine=NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "no_op"}]), supported_languages=["en"])
    spans = presidio(analyzer, entities=["EMAIL_ADDRESS", "CREDIT_CARD"], threshold=0.4)("jane@acme.com paid with 4111111111111111")
    assert {span.thing for span in spans} == {"email", "card"}


def test_personal_data_beside_what_is_read_is_said_and_never_shown():
    "In a further column, a class's name and a declared tool; the class as an option of the gate too."
    token = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]
    chats = pd.DataFrame([{"messages": turns, "tools": [{"type": "function", "function": {"name": "call", "description": f"Use {token}."}}], "origin": "c:1", "extra:who": "eve@example.com"},
                          {"messages": turns, "tools": None, "origin": "c:2", "extra:who": None}])
    held = inspect(Dataset(chats, chats[:0], chats[:0], (), "", "", (), "chats", "chat"), ("personal_data", "secret"))
    assert [(finding.kind, finding.severity, finding.rows) for finding in held] == [("secret", "warning", ("c:1",)), ("personal_data", "note", ("c:1",))]
    assert token not in f"{held}{held._repr_html_()}{held[0]!r}" and "eve@" not in f"{held}{held._repr_html_()}{held[1]!r}"
    assert not inspect(Dataset(chats, chats[:0], chats[:0], (), "", "", (), "chats", "chat"), ("personal_data",), allow=["@example.com"])
