"""The HTTP side of a Python peer: FastAPI on uvicorn with uvloop and httptools, orjson both ways.

A peer has a window that takes records, and predicts:

    window.feed(records)          keeps them; returns how many servers there are
    window.inputs(features)       {names, profiles, recent [servers, steps, metrics], end_ms,
                                  records, inputs of the model or None, ready [servers]}
    predict(inputs)               [servers, steps, quantiles] for the rows that are ready

POST /feed/data and GET /predictions/current answer as the fleet daemon does. GET /stages says what
the last forecast spent its time on, in milliseconds.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

import compute


def arguments_of(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="a folder of config.json and weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", default=".", help="where exports are kept")
    return parser.parse_args()


def features_of(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        return compute.Features(json.load(file))


class Stages:
    """Milliseconds since the last mark, by name."""

    def __init__(self):
        self.spent, self.last = {}, time.perf_counter()

    def mark(self, name):
        now = time.perf_counter()
        self.spent[name], self.last = 1000 * (now - self.last), now


def forecast(window, features, predict):
    """(the answer's bytes, Stages)"""
    stages = Stages()
    fleet = window.inputs(features)
    stages.mark("windows")
    ready = fleet["ready"]
    prediction = predict(fleet["inputs"]) if ready.any() else None
    stages.mark("model")
    found = compute.trends(fleet["recent"], alone=False)
    if not ready.all():
        others = compute.trends(fleet["recent"][~ready], alone=True)
        for field, values in others.items():
            found[field][~ready] = values
    if prediction is not None:
        part = found if ready.all() else {field: found[field][ready] for field in found}
        compute.take_over(part, prediction, features)
        if part is not found:
            for field, values in part.items():
                found[field][ready] = values
    stages.mark("trends")
    fleet["models"] = np.where(ready, "tft", "trend").tolist()
    judgement = compute.judged(found, fleet["names"], fleet["profiles"])
    stages.mark("judgement")
    answer = compute.document(found, judgement, fleet)
    stages.mark("document")
    text = compute.printed(answer)
    stages.mark("printing")
    return text, stages.spent


def application(window, features, predict, keeps):
    """`keeps`: whether an answer is kept until the next records come."""
    app, last = FastAPI(), {"ticks": 0, "answer": None, "stages": {}}

    def reply(body):
        return Response(body, media_type="application/json")

    @app.get("/ready")
    async def ready():
        return reply(b"{}")

    @app.post("/feed/data")
    async def feed(request: Request):
        records = orjson.loads(await request.body())["records"]
        servers = window.feed(records)
        last["ticks"] += 1
        last["answer"] = None
        return reply(orjson.dumps({"status": "accepted", "tick": last["ticks"],
                                   "accepted": len(records), "servers_tracked": servers}))

    @app.get("/predictions/current")
    async def predictions():
        if last["answer"] is None or not keeps:
            last["answer"], last["stages"] = forecast(window, features, predict)
        return reply(last["answer"])

    @app.get("/stages")
    async def stages():
        return reply(orjson.dumps(last["stages"]))

    return app


def serve(app, port):
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools",
                access_log=False, log_level="warning", timeout_keep_alive=3600)
    sys.exit(0)
