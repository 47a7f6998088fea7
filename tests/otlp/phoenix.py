#!/usr/bin/env python3
"""Judges what a running Phoenix understood of the exporter's traces, as its own interfaces tell it.

    phoenix.py URL [--count | --has-traces N | --page-of-a-failure]

Without an option everything is judged: whole trees, kinds, tokens, errors and sessions. Phoenix has no other word for
these than OpenInference's, so what is read is its translation of the `gen_ai` attributes.
"""

import argparse
import collections
import json
import sys
import urllib.parse
import urllib.request

KINDS = {"invoke_agent": "AGENT", "chat": "LLM", "execute_tool": "TOOL"}
# What is of no operation that the conventions know.
OWN = ("step", "reason", "act")
TOKENS = {"llm.token_count.prompt": "gen_ai.usage.input_tokens", "llm.token_count.completion": "gen_ai.usage.output_tokens",
          "llm.token_count.prompt_details.cache_read": "gen_ai.usage.cache_read.input_tokens"}


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def graphql(url, query):
    request = urllib.request.Request(f"{url}/graphql", json.dumps({"query": query}).encode(),
                                     {"Content-Type": "application/json"})
    answer = get(request)
    if answer.get("errors"):
        sys.exit(f"phoenix: {answer['errors']}")
    return answer["data"]


def project(url):
    return graphql(url, "{ projects(first: 1) { edges { node { id traceCount } } } }")["projects"]["edges"][0]["node"]


def all_spans(url):
    cursor = None
    while True:
        query = urllib.parse.urlencode({"limit": 1000} | ({"cursor": cursor} if cursor else {}))
        answer = get(f"{url}/v1/projects/default/spans?{query}")
        yield from answer["data"]
        cursor = answer["next_cursor"]
        if not cursor:
            return


def operation(span):
    return span["name"].split(" ")[0]


def whole(spans):
    """Spans by trace, of the traces whose root has come."""
    traces = collections.defaultdict(list)
    for span in spans:
        traces[span["context"]["trace_id"]].append(span)
    rooted = lambda trace: any(operation(it) == "invoke_agent" and not it["parent_id"] for it in trace)
    return {name: trace for name, trace in traces.items() if rooted(trace)}


def judge(url):
    traces = whole(all_spans(url))
    spans = [span for trace in traces.values() for span in trace]
    counted = collections.Counter(operation(span) for span in spans)
    for name in (*KINDS, *OWN):
        if counted[name] < 10:
            yield f"only {counted[name]} spans {name}"
    for trace in traces.values():
        ids = {span["context"]["span_id"] for span in trace}
        # A child session may go on when its parent's turn is over: until it has ended its spans have no parent yet.
        over = {span["attributes"].get("session.id") for span in trace if operation(span) == "invoke_agent"}
        for span in trace:
            if span["parent_id"] and span["parent_id"] not in ids and span["attributes"].get("session.id") in over:
                yield f"{span['name']} of {span['context']['trace_id']}: its parent is missing"
    told = failed = priced = 0
    for span in spans:
        name, said, where = operation(span), span["attributes"], f"{span['name']} {span['context']}"
        if span["span_kind"] != KINDS.get(name, "UNKNOWN"):
            yield f"{where}: of kind {span['span_kind']}"
        if not said.get("session.id") or said.get("session.id") != said.get("gen_ai.conversation.id"):
            yield f"{where}: session {said.get('session.id')}, conversation {said.get('gen_ai.conversation.id')}"
        if (span["status_code"] == "ERROR") != ("error.type" in said):
            yield f"{where}: {span['status_code']} and error.type {said.get('error.type')}"
        failed += span["status_code"] == "ERROR"
        if name == "chat" and "gen_ai.usage.input_tokens" in said:
            told += 1
            priced += "agent.cost.usd" in said
            for theirs, ours in TOKENS.items():
                if said.get(theirs) != said.get(ours):
                    yield f"{where}: {theirs} {said.get(theirs)}, {ours} {said.get(ours)}"
            if said.get("llm.model_name") != said.get("gen_ai.request.model"):
                yield f"{where}: model {said.get('llm.model_name')}"
        if name == "execute_tool" and said.get("tool.name") != said.get("gen_ai.tool.name"):
            yield f"{where}: tool {said.get('tool.name')}"
    if not told or not failed:
        yield f"{told} model calls with tokens, {failed} failures"

    # A turn's tokens must be those of its model calls, and not those once more for the turn itself.
    roots = graphql(url, """{ projects(first: 1) { edges { node {
        spans(first: 200, filterCondition: "parent_id is None") { edges { node {
            spanId cumulativeTokenCountTotal trace { traceId session { sessionId } } } } } } } } }""")
    compared = 0
    for edge in roots["projects"]["edges"][0]["node"]["spans"]["edges"]:
        root = edge["node"]
        trace = traces.get(root["trace"]["traceId"])
        if trace is None:
            continue
        if not (root["trace"]["session"] or {}).get("sessionId"):
            yield f"trace {root['trace']['traceId']}: of no session"
        calls = sum(span["attributes"].get("gen_ai.usage.input_tokens", 0)
                    + span["attributes"].get("gen_ai.usage.output_tokens", 0)
                    for span in trace if operation(span) == "chat")
        compared += 1
        if root["cumulativeTokenCountTotal"] != calls:
            yield f"trace {root['trace']['traceId']}: {root['cumulativeTokenCountTotal']} tokens, {calls} in its calls"
    if compared < 20:
        yield f"only {compared} traces could be compared by their tokens"
    print(f"phoenix: {len(traces)} whole traces, {dict(counted)}; {told} model calls with tokens, {priced} with our cost; "
          f"{failed} errors; the tokens of {compared} traces add up")


def page_of_a_failure(url):
    """The page of a trace that shows something of everything and fits a screen."""
    def fits(trace):
        names = {operation(span) for span in trace}
        return 10 <= len(trace) <= 20 and {"reason", "chat", "execute_tool"} <= names and sum(
            span["status_code"] == "ERROR" for span in trace) == 1
    found = [name for name, trace in sorted(whole(all_spans(url)).items()) if fits(trace)]
    if not found:
        sys.exit("phoenix: no trace is worth a picture")
    return f"{url}/projects/{project(url)['id']}/traces/{found[0]}"


def main():
    arguments = argparse.ArgumentParser(description="Judges what Phoenix understood.")
    arguments.add_argument("url", help="where Phoenix is")
    arguments.add_argument("--count", action="store_true", help="say how many traces there are")
    arguments.add_argument("--has-traces", type=int, help="succeed if there are so many traces")
    arguments.add_argument("--page-of-a-failure", action="store_true", help="say where to look at one")
    given = arguments.parse_args()
    if given.count:
        print(project(given.url)["traceCount"])
    elif given.has_traces is not None:
        sys.exit(project(given.url)["traceCount"] < given.has_traces)
    elif given.page_of_a_failure:
        print(page_of_a_failure(given.url))
    else:
        problems = list(judge(given.url))
        for problem in problems[:30]:
            print(f"phoenix: {problem}", file=sys.stderr)
        sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
