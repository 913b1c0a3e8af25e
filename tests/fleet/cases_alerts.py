"""Alerts of the fleet service; tests/fleet/run takes its cases from here as well.

Rules are evaluated when a step closes. So the first case has a daemon of its own whose clock runs,
sixty times as fast as ours.
"""
import contextlib
import datetime
import json
import time
import urllib.request

import formulas
from daemon import Daemon

__all__ = ["case_alerts_are_those_of_the_rules", "case_alert_routes_check_their_parameters"]

SPEED, STEP_S = 60, 300


@contextlib.contextmanager
def ticking(history):
    """A daemon with the history that sees the end of the step after it."""
    now_ms, begin_ms = time.time() * 1000, history.end_ms + 20000
    origin_ms = int((SPEED * now_ms - begin_ms) / (SPEED - 1))  # so that it is begin_ms there now
    with Daemon("scripts/fleet", "--clock-origin-ms", str(origin_ms), "--clock-speed",
                str(SPEED)) as daemon:
        history.send(daemon)
        begun = time.monotonic()
        while "forecast of" not in daemon.log() or not evaluated(daemon):
            assert time.monotonic() - begun < 60, daemon.log()
            time.sleep(0.05)
        yield daemon


def evaluated(daemon):
    shown = daemon.get("/metrics")[1]
    return any(line.startswith("moondial_alert_evaluation_seconds_count ")
               and not line.endswith(" 0") for line in shown.splitlines())


def milliseconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def check_rules(answer, active):
    """active: the engine's at the first tick, those that must hold for longer included."""
    want = formulas.alerts(answer["predictions"])
    got = {}
    for a in sorted(active, key=lambda alert: alert["severity"] == "critical"):
        if a["lead_steps"] > 0:
            got[a["server"], a["metric"]] = (a["severity"], a["lead_steps"])
    assert got == want, (got, want)
    assert ("stranger", "disk_usage_pct") in got and ("bare01", "mem_used_pct") in got, got


def wait_answer(daemon):
    """The first answer with critical alerts: a rule must hold for a while."""
    limit = time.monotonic() + 60
    while True:
        answer = daemon.get("/predictions/current")[1]
        if any(alert["severity"] == "critical" for alert in answer["alerts"]):
            return answer
        assert time.monotonic() < limit, daemon.log()
        time.sleep(0.05)


def check_answer(history, answer):
    order = [(a["severity"] != "critical", a["minutes_ahead"]) for a in answer["alerts"]]
    assert order == sorted(order)
    for alert in answer["alerts"]:
        assert alert["minutes_ahead"] == alert["steps_ahead"] * formulas.STEP_MIN
        if alert["severity"] == "critical":
            assert alert["critical_minutes_ahead"] == alert["minutes_ahead"], alert
        if alert["minutes_ahead"] > 0:
            assert alert["message"] == (f"{alert['server']}: {alert['metric']} predicted to reach "
                                        f"{alert['predicted_value']:.1f}"), alert
            assert alert["predicted_value"] >= alert["threshold"]
        assert alert["state"] == "firing" and alert["annotations"]["summary"] == alert["message"]
        assert alert["silenced_by"] == alert["inhibited_by"] == [], alert
        assert milliseconds(alert["since"]) >= history.end_ms + STEP_S * 1000, alert


def prints(alerts):
    return {alert["fingerprint"] for alert in alerts}


def check_routes(daemon, answer):
    status, active = daemon.get("/alerts/active")
    assert status == 200 and active["count"] == len(active["alerts"]) > 0 and "timestamp" in active
    assert prints(active["alerts"]) >= prints(answer["alerts"])
    assert prints(daemon.evaluate("alerts()")) >= prints(active["alerts"])
    status, past = daemon.get("/alerts/history?since_min=600")
    assert status == 200 and past["count"] == len(past["events"]) > 0, past
    status, last = daemon.get("/alerts/history?since_min=600&limit=1")
    assert status == 200 and last["count"] == 1, last
    status, quality = daemon.get("/alerts/quality")
    assert status == 200, quality
    rules = {row["rule"]: row for row in quality["rules"]}
    assert len(rules) == 7 and rules["cpu_saturation"]["hit"] == 0, rules
    shown = daemon.get("/metrics")[1]
    assert 'ALERTS{alertname="' in shown and 'server="bare01"' in shown


def check_events(daemon):
    """The event of a step counts the alerts of that step."""
    with urllib.request.urlopen(daemon.url + "/events", timeout=60) as stream:
        events = (line.decode() for line in stream)
        news = (json.loads(line[6:]) for line in events if line.startswith("data: "))
        first = next(news)
        later = next(one for one in news if one["closed_at"] != first["closed_at"])
    active = daemon.get("/alerts/active")[1]["alerts"]
    assert later["alert_count"] == len(active) > 0, (later, active)


def case_alerts_are_those_of_the_rules(_, history):
    with ticking(history) as daemon:
        answer = daemon.get("/predictions/current")[1]
        check_rules(answer, daemon.evaluate('md.alerts.active { state = "all" }'))
        answer = wait_answer(daemon)
        check_answer(history, answer)
        check_routes(daemon, answer)
        check_events(daemon)
        daemon.restart()
        assert prints(daemon.get("/alerts/active")[1]["alerts"]) >= prints(answer["alerts"])


def case_alert_routes_check_their_parameters(daemon, _):
    assert daemon.get("/alerts/active")[1]["alerts"] == [], "no step has closed"
    for path in ("/alerts/active?state=burning", "/alerts/history?since_min=never",
                 "/alerts/history?limit=0.5"):
        status, answer = daemon.get(path)
        assert status == 400 and "detail" in answer, (path, answer)
