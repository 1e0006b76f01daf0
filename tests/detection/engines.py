"""What public detection engines say of ECS events: one JSON object a line in, one a line out, with the rules that fire.

    engines.py [RULE_FILE...] < EVENTS

What the published rules say is in `published.json`. More rules are read from files, `.eql` or `.yml`, and called as the
file is. Two engines: the Python implementation of EQL, and pySigma, whose SQLite queries run in SQLite, with `re` behind
REGEXP.

Both compare without regard to case. Sigma wants that. Of EQL it is this implementation's choice: Elasticsearch regards
case in `==`, `in` and `like`. `NAME/cased` is the same rule with the switch turned, as Elasticsearch compares.
"""

import collections
import json
import pathlib
import re
import sqlite3
import sys

import eql
import eql.utils
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.processing.conditions import LogsourceCondition
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import AddConditionTransformation, FieldMappingTransformation

PUBLISHED = json.loads(pathlib.Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def quoted(values):
    return "(" + ", ".join(json.dumps(value) for value in values) + ")"


def elastic():
    """The two versions of "Python Path File (pth) Creation": of 2025-04-07 and of 2025-12-22."""
    facts = PUBLISHED["elastic"]

    def written(actions, programs):
        return [
            'host.os.type == "linux"',
            f"event.action in {quoted(actions)}",
            'file.extension == "pth"',
            f"file.path like {quoted(facts['places'])}",
            "process.executable != null",
            f"not (process.executable in {quoted(programs)}"
            f" or process.executable like {quoted(facts['program_patterns'])})",
        ]

    seed = written(["creation", "rename"], facts["programs"])
    current = written(["creation"], facts["programs"] + facts["programs_2025_12"])
    expected = f"process.name like {quoted(facts['expected_names'])} and file.name in {quoted(facts['expected_files'])}"
    current.append(f"not ({expected})")
    rules = {"elastic-seed": seed, "elastic-current": current}
    return {name: "file where " + " and ".join(terms) for name, terms in rules.items()}


def sigma():
    """The three rules "Python Path Configuration File Creation"."""
    for product, facts in PUBLISHED["sigma"].items():
        detection = {
            "selection": {"TargetFilename|re": facts["path"], "TargetFilename|endswith": ".pth"},
            "condition": "selection",
        }
        if "expected_files" in facts:
            detection["filter"] = {
                "Image|endswith": facts["expected_program"],
                "TargetFilename|endswith": facts["expected_files"],
            }
            detection["condition"] = "selection and not filter"
        yield f"sigma-{product}", {
            "title": f"Python Path Configuration File Creation, {product}",
            "id": facts["id"],
            "logsource": {"product": product, "category": "file_event"},
            "detection": detection,
        }


def fields():
    """How a rule's log source and its fields are found in ECS events."""
    items = []
    for product in ["windows", "linux", "macos"]:
        condition = AddConditionTransformation({"host.os.type": product})
        items.append(ProcessingItem(condition, rule_conditions=[LogsourceCondition(product=product)]))
    condition = AddConditionTransformation({"event.action": "creation"})
    items.append(ProcessingItem(condition, rule_conditions=[LogsourceCondition(category="file_event")]))
    names = {"TargetFilename": "file.path", "Image": "process.executable"}
    items.append(ProcessingItem(FieldMappingTransformation(names)))
    return ProcessingPipeline(items=items)


def flat(value, name=""):
    """Nested objects as fields with dots in their names; lists are left out, no rule here asks for one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else key)
    elif not isinstance(value, list):
        yield name, value


def ask_eql(rules, events, cased):
    """The numbers of the events that each rule fires on."""
    # A global of the library that nothing else reaches; rules look at it when they are compiled and when they run.
    eql.utils.CASE_INSENSITIVE = not cased
    fired = collections.defaultdict(set)
    for name, text in rules.items():
        engine = eql.PythonEngine()
        with eql.parser.elasticsearch_syntax, eql.parser.skip_optimizations:
            engine.add_query(eql.parse_query(text))
        engine.add_output_hook(lambda output: fired[name].update(event.time for event in output.events))
        for number, event in enumerate(events):
            engine.stream_event(eql.Event("file", number, event))
        engine.finalize()
    return fired


def ask_sigma(rules, events):
    """The same for Sigma: `rules` are documents, or the text of a file."""
    backend = sqliteBackend(fields(), table="events", collate_nocase=True)
    queries, columns = {}, set()
    for name, rule in rules.items():
        one = SigmaCollection.from_yaml(rule) if isinstance(rule, str) else SigmaCollection.from_dicts([rule])
        queries[name] = backend.convert(one)
        columns.update(field for rule in one.rules for field in backend.required_fields(rule))
    columns = sorted(columns)
    rows = [dict(flat(event)) for event in events]
    database = sqlite3.connect(":memory:")
    database.create_function("regexp", 2, lambda pattern, text: text is not None and bool(re.search(pattern, text)))
    database.execute(f"CREATE TABLE events (number INTEGER, {', '.join(f'`{column}` TEXT' for column in columns)})")
    marks = ", ".join("?" for _ in columns)
    values = ([number, *(row.get(column) for column in columns)] for number, row in enumerate(rows))
    database.executemany(f"INSERT INTO events VALUES (?, {marks})", values)
    return {
        name: {number for query in texts for (number, *_) in database.execute(query)}
        for name, texts in queries.items()
    }


def main():
    eql_rules, sigma_rules = elastic(), dict(sigma())
    for path in map(pathlib.Path, sys.argv[1:]):
        rules = {".eql": eql_rules, ".yml": sigma_rules}[path.suffix]
        rules[path.name] = path.read_text(encoding="utf-8")
    # Not by `splitlines`: names may hold what Unicode calls the end of a line.
    lines = sys.stdin.buffer.read().split(b"\n")
    events = [json.loads(line) for line in lines if line]
    fired = ask_eql(eql_rules, events, cased=False)
    fired |= {f"{name}/cased": numbers for name, numbers in ask_eql(eql_rules, events, cased=True).items()}
    fired |= ask_sigma(sigma_rules, events)
    for number in range(len(events)):
        print(json.dumps({"fires": sorted(name for name, numbers in fired.items() if number in numbers)}))


main()
