"""Writes privacy_rows.jsonl, the labelled rows of test_data_privacy.py and benchmarks/data_privacy.py.

    pip install faker==40.54.0 python-stdnum==2.2 && python tests/privacy_rows.py

Parts: `hand` was written by hand, `dev` and `held_out` are built with Faker over eleven locales (held_out alone has Portuguese, Indian English and Swedish rows, and
sentences of its own), so that spans are known by construction. The patterns were written with `hand` and `dev` in sight. Of `held_out`, a first draw was
looked at for its figures (recall .985, precision 1), and one of another seed for what was missed: words behind a number, words inside compounds, "callback", JCB numbers that begin with any 35. After that it was
drawn anew with the seed below, so its values are unseen, its sentences are not. Numbers come from Faker and python-stdnum, whose check digits are
not ours. A ¦ stands inside every secret, so that scanners of repositories leave the file alone; `read_rows` takes it out.
"""

import json
import random
import string
from pathlib import Path

FILE = Path(__file__).with_suffix(".jsonl")
SEEDS = {"dev": 1, "held_out": 20_261_123}
UNSTRUCTURED = ("name", "address")  # counted apart: they have no form

# fmt: off
HAND = [  # text with ⟦thing|value⟧ for what is to be found
    "Please send the invoice to ⟦email|m.keller@web.de⟧ before Friday.",
    "⟦email|O'Brien.Pat+lists@mail.example.co.uk⟧ wrote again; cc ⟦email|info@firma-müller.de⟧",
    "Contact: ⟦email|sales [at] acme [dot] io⟧ or ⟦phone|+1 (212) 555-0187⟧.",
    "my number is ⟦phone|(415) 555-2671⟧, text me", "Call ⟦phone|020 7946 0958⟧ between 9 and 5.",
    "Ruf mich an: ⟦phone|0171 2345678⟧ oder ⟦phone|+49 (0)30 901820⟧.", "Mon numéro de portable : ⟦phone|06 12 34 56 78⟧.",
    "Llámame al ⟦phone|612 345 678⟧ por la tarde.", "Chiamami al ⟦phone|345 678 9012⟧ stasera", "Bel me op ⟦phone|06-12345678⟧.", "Zadzwoń pod ⟦phone|601 234 567⟧.",
    "Meu telefone é ⟦phone|(11) 91234-5678⟧.", "phone:⟦phone|9876543210⟧ (India)", "Fax ⟦phone|0044 161 496 0123⟧, ext. none", "WhatsApp ⟦phone|+55 21 99876-5432⟧",
    "Jane, ⟦phone|555-867-5309⟧, ⟦email|jane@x.org⟧, paid", "the ticket number is 4155552671", "Reference 020-7946-0958-11", "Between 1990-1995 we sold 1 250 000 units.",
    "Transfer to ⟦iban|DE89 3704 0044 0532 0130 00⟧ by Monday.", "IBAN ⟦iban|GB82WEST12345698765432⟧!", "conto ⟦iban|IT60 X054 2811 1010 0000 0123 456⟧ intestato a noi",
    "DE89 3704 0044 0532 0130 01 is one digit off.", "My card ⟦card|4111 1111 1111 1111⟧ was declined, exp 12/27, cvv 123.", "amex ⟦card|3782-822463-10005⟧", "pay with ⟦card|5555555555554444⟧",
    "Card number 4111 1111 1111 1112 is mistyped.", "Order 4929123456781234 shipped.", "SSN: ⟦us_ssn|219-09-9999⟧", "Her social is ⟦us_ssn|536 22 1234⟧ she said", "social security number ⟦us_ssn|219099999⟧",
    "Part 666-12-3456 is out of stock.", "NI number ⟦uk_nino|AB 12 34 56 C⟧", "NINO=⟦uk_nino|JG103759A⟧", "NHS number ⟦uk_nhs|943 476 5919⟧", "DNI ⟦es_dni|12345678Z⟧ y NIE ⟦es_nie|X-1234567-L⟧",
    "codice fiscale ⟦it_fiscal_code|RSSMRA85T10A562S⟧", "n° sécu ⟦fr_nir|2 69 05 49 588 157 80⟧", "Steuer-ID ⟦de_tax_id|86 095 742 719⟧", "BSN ⟦nl_bsn|111222333⟧", "PESEL ⟦pl_pesel|44051401359⟧",
    "CPF ⟦br_cpf|111.444.777-35⟧", "Aadhaar ⟦in_aadhaar|2341 2341 2346⟧", "PAN card ⟦in_pan|ABCPE1234F⟧", "personnummer ⟦se_personal_id|811218-9876⟧", "AHV ⟦ch_ahv|756.9217.0769.85⟧",
    "rijksregisternummer ⟦be_national_id|85.07.30-033.28⟧", "SIN ⟦ca_sin|046 454 286⟧", "NIF ⟦pt_nif|123456789⟧ (contribuinte)",
    "Failed login from ⟦ip|203.0.113.77⟧ at 12:30:45", "client ⟦ip|2001:db8:85a3::8a2e:370:7334⟧ timed out", "upgrade from 1.2.3.4 to version 115.0.77.2, bind 127.0.0.1 or 0.0.0.0, std::vector::begin",
    "Host ⟦ip|10.20.30.40⟧:8080 is down", "key ⟦aws_key|AKIAIOSFODNN7EXAMPLE⟧ leaked", "git clone https://⟦url_credentials|bob:hunter2x⟧@git.acme.io/app.git", "password: ⟦password|hunter2⟧",
    "DB_PASSWORD=⟦password|s3cr3t!pw⟧", "my wifi password is ⟦password|Blue42Horse⟧ thanks", "I forgot my password, is that a problem?", "password=password, token=token, api_key=settings.API_KEY",
    'login(user, password="⟦password|swordfish⟧")', "Authorization: Bearer ⟦credential|9f86d081884c7d659a2feaa0c55ad015⟧", 'export SECRET_KEY="⟦credential|django-insecure-8s7d6f5g4h3j2k1⟧"', 'api_key = os.environ["API_KEY"]',
    "Server=db;Database=x;User Id=sa;Password=⟦password|Pa55w0rd⟧;", "AccountKey=⟦credential|Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg==⟧", "set token: ${GITHUB_TOKEN} in CI", "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "uuid 550e8400-e29b-41d4-a716-446655440000", "She got 3,141,592.65 on 2026-11-21, that is 11/21/2026.", "max_tokens=4096, token_type: bearer, temperature=0.7",
    "Meet me at 12 Oak or tomorrow 10-11-12.", "ISBN 978-3-16-148410-0, ISSN 2049-3630", "lat 48.858370, lon 2.294481", "In 2019 the population was 83 132 799 people.", "Use scikit-learn's task-scheduler-2024 plugin",
    "Solve 123456789 * 987654321.", "EAN 4006381333931 on the box", "tracking 1Z999AA10123456784", "The answer is 1 000 000 000 or 10^9.", "image: icon@2x.png, remote git@github.com:a/b.git, @decorator, @jane_doe",
    "My name is ⟦name|Jane Doe⟧ and I live at ⟦address|12 Elm Street, Springfield, IL 62704⟧.", "Ich heiße ⟦name|Petra Vogel⟧, ⟦address|Hauptstraße 5a, 10115 Berlin⟧.", "⟦name|Mary⟧ told me about her trip.", "⟦address|8 rue de la Paix, 75002 Paris⟧ est mon adresse.",
]

FRAMES = {  # part → language → thing → sentences; a thing that a language lacks takes the English ones
    "dev": {
        "en": {"email": ["You can write to {} any time.", "From: {}", "{} has not answered yet"], "phone": ["Please call me on {} after six.", "My phone number is {}.", "Reach us at {}", "{} is my cell"],
               "iban": ["Send the money to {} today.", "My account is {}, thank you."], "card": ["The card {} was charged twice.", "Refund it to {} please"], "ip": ["The request came from {}.", "{} - - GET /index.html 200", "ping {} fails"],
               "id": ["My {what} is {}.", "{what}: {}", "They asked for my {what} ({})."], "name": ["I spoke to {} yesterday.", "My name is {}."], "address": ["Ship it to {} please.", "I live at {}."]},
        "de": {"email": ["Schreiben Sie bitte an {}.", "Meine Adresse lautet {}"], "phone": ["Rufen Sie mich unter {} an.", "Telefon: {}", "Meine Handynummer ist {}."], "iban": ["Bitte überweisen Sie auf {}.", "Konto: {}"],
               "card": ["Meine Karte {} wurde gesperrt."], "id": ["Meine {what} lautet {}.", "{what} {}"]},
        "fr": {"email": ["Écrivez-moi à {}.", "Courriel : {}"], "phone": ["Appelez-moi au {}.", "Tél. {}", "Mon téléphone est le {}"], "iban": ["Voici mon compte : {}."], "card": ["Ma carte {} est bloquée."], "id": ["Mon {what} est {}."]},
        "es": {"email": ["Escríbeme a {}.", "Correo: {}"], "phone": ["Llámame al {}.", "Mi teléfono es {}", "Móvil: {}"], "iban": ["Mi cuenta es {}."], "card": ["Mi tarjeta {} no funciona."], "id": ["Mi {what} es {}."]},
        "it": {"email": ["Scrivimi a {}."], "phone": ["Chiamami al {}.", "Telefono: {}"], "iban": ["Bonifico su {}."], "card": ["La mia carta {} è scaduta."], "id": ["Il mio {what} è {}."]},
        "nl": {"email": ["Mail me op {}."], "phone": ["Bel me op {}.", "Telefoon: {}"], "iban": ["Maak het over naar {}."], "card": ["Mijn kaart {} is kwijt."], "id": ["Mijn {what} is {}."]},
        "pl": {"email": ["Napisz na {}."], "phone": ["Zadzwoń pod numer {}.", "Telefon: {}"], "iban": ["Przelej na konto {}."], "card": ["Moja karta {} nie działa."], "id": ["Mój {what} to {}."]}},
    "held_out": {
        "en": {"email": ["The address on file is {}, please confirm.", "reply-to={}", "Forwarded by {} on Monday"], "phone": ["I missed your call; my mobile is {}.", "Customer callback: {}", "Emergency contact {}", "You can dial {} for support."],
               "iban": ["The refund should go to IBAN {} and nowhere else.", "beneficiary account: {}"], "card": ["I lost my credit card, number {}, last night.", "It says {} on the front of the card."],
               "ip": ["Blocked {} after five attempts", "My router shows {} as its address.", "remote_addr={}"], "id": ["Could you check whether {what} {} is on file?", "{what} no. {}", "Enter {} as your {what}."],
               "name": ["The claim was filed by {}.", "Sincerely, {}"], "address": ["We moved to {} last spring.", "Deliver to: {}"]},
        "de": {"email": ["Antwort bitte an {}, danke!"], "phone": ["Sie erreichen mich mobil unter {}.", "Rückruf erbeten: Tel. {}"], "iban": ["Die IBAN {} gehört meiner Schwester."], "card": ["Auf der Kreditkarte steht {}."], "id": ["Finden Sie mich unter {what} {}?"]},
        "fr": {"email": ["Merci de répondre à {} rapidement."], "phone": ["Joignable par téléphone au {}.", "Portable : {}"], "iban": ["Mon IBAN est le {}."], "card": ["Le numéro de ma carte bancaire : {}"], "id": ["Voici le {what} demandé : {}."]},
        "es": {"email": ["Mi dirección es {}, gracias."], "phone": ["Tel. de contacto: {}", "Pueden llamar al {}."], "iban": ["El IBAN {} ya no existe."], "card": ["He perdido la tarjeta {}."], "id": ["Adjunto mi {what}: {}."]},
        "it": {"email": ["La mia mail è {}."], "phone": ["Il mio cellulare: {}", "Tel. {}"], "iban": ["L'IBAN corretto è {}."], "card": ["Numero della carta: {}."], "id": ["Allego {what} {}."]},
        "nl": {"email": ["Stuur het naar {}, alsjeblieft."], "phone": ["Mijn mobiele nummer is {}.", "Tel: {}"], "iban": ["Het rekeningnummer is {}."], "card": ["Mijn creditcard {} is gestolen."], "id": ["Hierbij {what} {}."]},
        "pl": {"email": ["Mój adres to {}."], "phone": ["Mój telefon: {}", "Tel. {}"], "iban": ["Numer konta: {}."], "card": ["Numer karty: {}."], "id": ["Podaję {what}: {}."]},
        "pt": {"email": ["Escreva para {}."], "phone": ["Meu celular é {}.", "Telefone: {}"], "iban": ["O meu IBAN é {}."], "card": ["Meu cartão {} foi clonado."], "id": ["Meu {what} é {}."]},
        "sv": {"email": ["Skriv till {}."], "phone": ["Ring mig på {}.", "Telefon: {}"], "iban": ["Mitt konto är {}."], "card": ["Mitt kort {} är spärrat."], "id": ["Mitt {what} är {}."]}},
}
SECRETS = {  # part → sentences around a token; the second list is for what needs its name beside it
    "dev": ["Use {} to log in.", "token: {}", "I pasted {} into the chat by accident", 'client = Client("{}")', "export API_KEY={}"],
    "held_out": ["Here is the key: {}", "curl -H 'X-Auth: {}' https://api.acme.io", "why does {} not work?", '{{"credential": "{}"}}', "KEY={} python run.py", "revoke {} please"],
}
NAMED = {
    "dev": [("password", "password: {}"), ("password", "PASSWORD={}"), ("password", "my password is {}."), ("credential", "SECRET_KEY = '{}'"), ("credential", "api_key: {}"), ("credential", "Authorization: Bearer {}"), ("url", "postgres://{}@db.acme.io:5432/app")],
    "held_out": [("password", "the Passwort: {} was in the mail"), ("password", '"db_password": "{}",'), ("password", "pwd={};"), ("credential", "client_secret={}&grant_type=code"), ("credential", "x-api-key: {}"), ("credential", "access_token = \"{}\""), ("url", "redis://{}@cache:6379"), ("url", "connect to amqps://{}@mq.acme.io/vhost now")],
}
CLEAN = {
    "dev": ["Order {n9} was shipped on {date}.", "Invoice no. {n10}, total {money}.", "We sold {n7} units in {year}-{year2}.", "commit {hex40}", "request id {uuid}", "version {ver} of the driver", "https://shop.acme.io/item/{n8}?page=2", "Point ({lat}, {lat})", "ISBN 978-{n1}-{n3}-{n5}-{n1}",
            "def f(token, password=None): return token", "The meeting is on {date} from {time} to {time}.", "What is {n5} times {n4}?", "serial {al12}", "md5 {hex32}", "{words}", "{words}", "{words}", "{words}", "part {n3}-{n2}-{n3}", "timestamp {n10}.{n6}", "ratio {n1}.{n12}"],
    "held_out": ["Your ticket {n8} has been closed.", "Flight {al6} leaves at {time} on {date}.", "SKU {al8}-{n4}", "population {n1},{n3},{n3}", "epoch {n10}, loss 0.{n6}", "trace {hex16} span {hex8}", "etag W/\"{hex32}\"", "build {ver}-rc{n1}", "isbn {n10}", "{n4} x {n4} pixels, {n6} bytes", "case {year}/{n5}",
                 "api_key = get_api_key()", "set PASSWORD in your environment before you start", "reset the password and the token expires in {n4} seconds", "{words}", "{words}", "{words}", "{words}", "{words}", "figures {n3} {n3} {n2}", "colour #{hex6}, size {n2}px", "row {n6}: {money}"],
}
# fmt: on
LOCALES = {"dev": "en_US en_GB de_DE fr_FR es_ES it_IT nl_NL pl_PL", "held_out": "en_US en_GB de_DE fr_FR es_ES it_IT nl_NL pl_PL pt_BR en_IN sv_SE"}
WHAT = {  # locale → (thing, what people call it)
    "en_US": [("us_ssn", "SSN"), ("us_ssn", "social security number")], "en_GB": [("uk_nino", "national insurance number")], "de_DE": [("de_tax_id", "Steuer-ID")], "fr_FR": [("fr_nir", "numéro de sécurité sociale")],
    "es_ES": [("es_dni", "DNI"), ("es_nie", "NIE")], "it_IT": [("it_fiscal_code", "codice fiscale")], "nl_NL": [("nl_bsn", "BSN"), ("nl_bsn", "burgerservicenummer")], "pl_PL": [("pl_pesel", "PESEL")], "pt_BR": [("br_cpf", "CPF")],
    "en_IN": [("in_aadhaar", "Aadhaar")], "sv_SE": [("se_personal_id", "personnummer")],
}  # fmt: skip


def read_rows() -> list[dict]:
    "The labelled rows: part, locale, text, and spans (start, end, thing)."
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        marks = [i for i, c in enumerate(row["text"]) if c == "¦"]
        row["spans"] = [(start - sum(m < start for m in marks), end - sum(m < end for m in marks), thing) for start, end, thing in row["spans"]]
        row["text"] = row["text"].replace("¦", "")
    return rows


def scored(rows: list[dict], found: dict[int, list[tuple[int, int, str]]]) -> dict:
    """Recall and precision, of each thing and of all that has a form. A label is met when four fifths of its characters are covered, a find is right when half of it is labelled:
    what counts is that the characters are gone, not what they were called."""
    from collections import Counter
    labels, met, finds, right, missed, wrong, touched = Counter(), Counter(), Counter(), Counter(), [], [], 0
    for i, row in enumerate(rows):
        spans, inside = found.get(i, []), [set(range(start, end)) for start, end, _ in row["spans"]]
        covered = set().union(*(range(start, end) for start, end, _ in spans))
        for (start, end, thing), chars in zip(row["spans"], inside):
            labels[thing] += 1
            if len(covered & chars) >= 0.8 * len(chars): met[thing] += 1
            else: missed.append((i, start, end, thing))
        for start, end, thing in spans:
            finds[thing] += 1
            if len(set(range(start, end)) & set().union(*inside)) >= 0.5 * (end - start): right[thing] += 1
            else: wrong.append((i, start, end, thing))
        touched += bool(spans) and not row["spans"]
    formed = [thing for thing in {*labels, *finds} if thing not in UNSTRUCTURED]
    def share(some, of, things): return sum(some[t] for t in things) / max(1, sum(of[t] for t in things))
    each = {t: (labels[t], share(met, labels, [t]), finds[t], share(right, finds, [t])) for t in sorted({*labels, *finds})}
    return {"recall": share(met, labels, formed), "precision": share(right, finds, formed), "labels": sum(labels[t] for t in formed), "each": each, "missed": missed, "wrong": wrong,
            "clean": sum(not row["spans"] for row in rows), "touched": touched}


def filled(rng: random.Random, frame: str, words: str) -> str:
    "A clean sentence with its numbers drawn."
    def draw(n, of=string.digits): return "".join(rng.choice(of) for _ in range(n))
    values = {f"n{n}": rng.choice("123456789") + draw(n - 1) for n in range(1, 13)} | {f"hex{n}": draw(n, "0123456789abcdef") for n in (6, 8, 16, 32, 40)}
    values |= {f"al{n}": draw(n, string.ascii_uppercase + string.digits) for n in (6, 8, 12)} | {"year": rng.randint(1950, 2000), "year2": rng.randint(2001, 2026), "words": words}
    values |= {"date": f"{rng.randint(2000, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}", "time": f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}", "money": f"{rng.randint(1, 999)},{rng.randint(0, 999):03}.{rng.randint(0, 99):02}"}
    values |= {"uuid": f"{draw(8, 'abcdef0123456789')}-{draw(4, 'abcdef0123456789')}-4{draw(3)}-a{draw(3)}-{draw(12, 'abcdef0123456789')}", "ver": ".".join(str(rng.randint(0, 30)) for _ in range(rng.choice((3, 4)))), "lat": f"{rng.randint(-90, 90)}.{draw(6)}"}
    return frame.format(**values)


def token(rng: random.Random) -> tuple[str, str]:
    "A thing and a value of it, the way its maker writes them."
    def draw(n, of=string.ascii_letters + string.digits): return "".join(rng.choice(of) for _ in range(n))
    safe, hexes, upper = string.ascii_letters + string.digits + "-_", "0123456789abcdef", string.ascii_uppercase + string.digits
    makers = [("aws_key", lambda: rng.choice(("AKIA", "ASIA")) + draw(16, upper)), ("github_token", lambda: rng.choice(("ghp_", "gho_", "ghs_")) + draw(36)), ("github_token", lambda: "github_pat_" + draw(22) + "_" + draw(59)),
              ("gitlab_token", lambda: "glpat-" + draw(20, safe[:-2])), ("slack_token", lambda: f"xoxb-{draw(12, string.digits)}-{draw(12, string.digits)}-{draw(24)}"), ("slack_token", lambda: f"https://hooks.slack.com/services/T{draw(8, upper)}/B{draw(8, upper)}/{draw(24)}"),
              ("stripe_key", lambda: rng.choice(("sk_live_", "rk_live_", "sk_test_")) + draw(24)), ("openai_key", lambda: "sk-" + draw(20) + "T3BlbkFJ" + draw(20)), ("openai_key", lambda: "sk-proj-" + draw(64, safe) + "a"),
              ("anthropic_key", lambda: "sk-ant-api03-" + draw(92, safe) + "AA"), ("google_key", lambda: "AIza" + draw(34, safe) + "x"), ("hugging_face_token", lambda: "hf_" + draw(34, string.ascii_letters)), ("npm_token", lambda: "npm_" + draw(36)),
              ("pypi_token", lambda: "pypi-AgEIcHlwaS5vcmc" + draw(70, safe) + "A"), ("mail_service_key", lambda: f"SG.{draw(22)}.{draw(43)}"), ("telegram_token", lambda: f"{draw(9, '123456789')}:AA{draw(33)}"), ("cloud_token", lambda: "dop_v1_" + draw(64, hexes)),
              ("jwt", lambda: f"eyJhbGciOiJIUzI1NiJ9.eyJ{draw(40)}.{draw(43, safe[:-2])}"), ("private_key", lambda: "-----BEGIN PRIVATE KEY-----\n" + "\n".join(draw(64) for _ in range(3)) + "\n" + draw(20) + "==\n-----END PRIVATE KEY-----")]  # fmt: skip
    thing, make = rng.choice(makers)
    return thing, make()


def named(rng: random.Random, kind: str) -> tuple[str, str]:
    "A password, a token without a prefix, or a user with a password."
    def draw(n, of=string.ascii_letters + string.digits): return "".join(rng.choice(of) for _ in range(n))
    if kind == "url": return "url_credentials", f"{rng.choice(('app', 'root', 'svc_user'))}:{draw(rng.randint(8, 20))}"
    if kind == "credential": return "credential", draw(rng.choice((24, 32, 40, 48))) + rng.choice("123456789") + rng.choice("abcdef")
    return "password", rng.choice((draw(6) + "7x", rng.choice(("Winter", "dragon", "Summer")) + str(rng.randint(10, 9999)) + rng.choice(("", "!", "#")), draw(4) + "-" + draw(4) + "9" + rng.choice("@$!%")))


def identifier(fake, rng: random.Random, thing: str) -> str:
    "A valid national id; Faker's where it makes them, else with python-stdnum's check digits."
    from stdnum import verhoeff
    from stdnum.de import idnr
    from stdnum.fr import nir
    from stdnum.nl import bsn
    if thing == "uk_nino":
        letters = "ABCEGHJKLMNPRSTWXYZ"
        while (prefix := rng.choice(letters) + rng.choice(letters.replace("O", ""))) in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ"): pass
        number = [f"{rng.randint(0, 99):02}" for _ in range(3)]
        return prefix + rng.choice((" " + " ".join(number) + " ", "".join(number))) + rng.choice("ABCD")
    if thing == "de_tax_id":
        while True:
            ten = [*rng.sample("123456789", 9)]; ten.insert(rng.randint(0, 9), rng.choice(ten))
            number = "".join(ten); number += idnr.iso7064.mod_11_10.calc_check_digit(number) if hasattr(idnr, "iso7064") else __import__("stdnum.iso7064.mod_11_10", fromlist=["x"]).calc_check_digit(number)
            if idnr.is_valid(number): return rng.choice((number, f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"))
    if thing == "in_aadhaar":
        from stdnum.in_ import aadhaar
        while True:
            number = rng.choice("23456789") + "".join(rng.choice(string.digits) for _ in range(10)); number += verhoeff.calc_check_digit(number)
            if aadhaar.is_valid(number): return rng.choice((number, f"{number[:4]} {number[4:8]} {number[8:]}"))
    makers = {"us_ssn": fake.ssn, "fr_nir": fake.ssn, "it_fiscal_code": fake.ssn, "nl_bsn": fake.ssn, "se_personal_id": fake.ssn, "pl_pesel": getattr(fake, "pesel", None), "br_cpf": getattr(fake, "cpf", None), "es_dni": getattr(fake, "nif", None), "es_nie": getattr(fake, "nie", None)}
    right = {"fr_nir": nir.is_valid, "nl_bsn": bsn.is_valid}.get(thing, bool)
    while not right(value := makers[thing]()): pass
    return value


def value(fake, rng: random.Random, thing: str) -> str:
    from stdnum import iban
    if thing == "email": return rng.choice((fake.email(), fake.ascii_company_email(), fake.ascii_free_email()))
    if thing == "phone": return fake.phone_number()
    if thing == "ip": return rng.choice((fake.ipv4_public(), fake.ipv6()))
    if thing == "card":
        number = fake.credit_card_number(card_type=rng.choice(("visa16", "mastercard", "amex", "discover", "jcb16", "diners", "maestro")))
        four = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
        return rng.choice((number, four, four.replace(" ", "-"))) if len(number) == 16 else number
    if thing == "iban":
        while not iban.is_valid(number := fake.iban()): pass
        return rng.choice((number, " ".join(number[i : i + 4] for i in range(0, len(number), 4))))
    return fake.name() if thing == "name" else fake.address().replace("\n", ", ")


def labelled(frame: str, thing: str, found: str) -> tuple[str, list]:
    before = frame.split("{}")[0].replace("{{", "{").replace("}}", "}")
    return frame.format(found), [(len(before), len(before) + len(found), thing)]


def built(part: str, count: int) -> list[dict]:
    "Rows of one part: for every locale its numbers and addresses, then secrets, then clean rows."
    from faker import Faker
    rng, rows, frames = random.Random(SEEDS[part]), [], FRAMES[part]
    fakes = {locale: Faker(locale) for locale in LOCALES[part].split()}
    fallback = Faker("en_GB")
    for i, fake in enumerate([*fakes.values(), fallback]): fake.seed_instance(SEEDS[part] + i)
    for locale, fake in fakes.items():
        for i in range(count):
            thing = ("email", "phone", "id", "iban", "card", "ip", "phone", "id", "name", "address")[i % 10]
            sentences = frames[locale[:2]] if thing in frames[locale[:2]] else frames["en"]
            if thing == "id":
                name, what = rng.choice(WHAT[locale])
                text, spans = labelled(rng.choice(sentences[thing]).replace("{what}", what), name, identifier(fake, rng, name))
            else:
                maker = fallback if thing == "iban" and locale in ("en_US", "pt_BR", "en_IN", "en_GB") else fake
                text, spans = labelled(rng.choice(sentences[thing]), thing, value(fakes["de_DE"] if maker is fallback else fake, rng, thing))
            rows.append({"part": part, "locale": locale, "text": text, "spans": spans})
    for i in range(2 * count):
        if i % 2: kind, frame = rng.choice(NAMED[part]); thing, secret = named(rng, kind)
        else: frame = rng.choice(SECRETS[part]); thing, secret = token(rng)
        cut = min(3, len(secret) // 2)
        text, spans = labelled(frame, thing, secret[:cut] + "¦" + secret[cut:])
        rows.append({"part": part, "locale": "", "text": text, "spans": spans})
    for i in range(4 * count):
        fake = list(fakes.values())[i % len(fakes)]
        rows.append({"part": part, "locale": "", "text": filled(rng, CLEAN[part][i % len(CLEAN[part])], fake.sentence(nb_words=14)), "spans": []})
    return rows


def by_hand() -> list[dict]:
    rows = []
    for marked in HAND:
        text, spans = "", []
        for i, piece in enumerate(marked.replace("⟧", "⟦").split("⟦")):
            thing, _, found = piece.partition("|") if i % 2 else ("", "", piece)
            if thing: spans.append((len(text), len(text) + len(found), thing))
            text += found
        rows.append({"part": "hand", "locale": "", "text": text, "spans": spans})
    return rows


if __name__ == "__main__":
    rows = [*by_hand(), *built("dev", 50), *built("held_out", 70)]
    FILE.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} rows, {sum(len(row['spans']) for row in rows)} spans")
