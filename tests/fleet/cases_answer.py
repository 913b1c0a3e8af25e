"""Less than the whole answer, and none for who has it; tests/fleet/run takes its cases from here
as well."""
import gzip
import json
import os
import re
import subprocess
import urllib.error
import urllib.request

import formulas
from daemon import MOONDIAL, Daemon

__all__ = ["case_less_can_be_asked_for", "case_what_a_client_has_is_not_sent_again",
           "case_decimals_that_are_none_end_the_start",
           "case_forecasts_can_wait_until_somebody_asks"]


def case_less_can_be_asked_for(daemon, history):
    whole = daemon.get("/predictions/current")[1]
    assert daemon.get("/predictions/current?horizon=96")[1] == whole
    assert daemon.get("/predictions/current?other=1")[1] == whole
    names = ["bare01", "ppdb099", "ppweb001"]
    status, less = daemon.get("/predictions/current?servers=" + ",".join(names) +
                              "&metrics=cpu_user_pct,swap_used_pct&quantiles=p90,p50&horizon=12")
    assert status == 200 and set(less["predictions"]) == set(names), (status, less)
    left_out = set(formulas.METRICS) - {"cpu_user_pct", "swap_used_pct"}
    for name in names:
        want = {key: value for key, value in whole["predictions"][name].items()
                if key not in left_out}
        for metric in set(formulas.METRICS) & set(want):
            del want[metric]["p10"]
            want[metric] |= {key: want[metric][key][:12] for key in ("p50", "p90")}
        assert less["predictions"][name] == want, (name, less["predictions"][name], want)
    assert {key: less[key] for key in less if key != "predictions"} == \
        {key: whole[key] for key in whole if key != "predictions"}
    for query, field in (("servers=ppweb001,nobody", "servers"), ("servers=", "servers"),
                         ("metrics=cpu", "metrics"), ("metrics=cpu_user_pct,", "metrics"),
                         ("quantiles=p99", "quantiles"), ("horizon=0", "horizon"),
                         ("horizon=97", "horizon"), ("horizon=1.5", "horizon"),
                         ("horizon=nan", "horizon"), ("horizon=", "horizon")):
        status, answer = daemon.get("/predictions/current?" + query)
        assert status == 400 and answer["field"] == field, (query, status, answer)
    assert "'nobody' is no server" in daemon.get("/predictions/current?servers=nobody")[1]["detail"]


def case_what_a_client_has_is_not_sent_again(daemon, history):
    def get(tag, **headers):
        headers |= {"If-None-Match": tag} if tag else {}
        request = urllib.request.Request(daemon.url + "/predictions/current", headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers["ETag"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["ETag"], error.read()

    status, tag, body = get(None)
    assert status == 200 and re.fullmatch(r'"[0-9a-f]+-[0-9a-f]+"', tag), (status, tag)
    assert get(None) == (200, tag, body), "the same answer has the same tag"
    assert get(tag) == (304, tag, b"")
    assert get('"other", W/' + tag) == get("*") == (304, tag, b"")
    assert get(tag.replace('"', "")) == get('"other"') == (200, tag, body)
    status, packed, zipped = get(tag, **{"Accept-Encoding": "gzip"})
    assert status == 200 and packed != tag and gzip.decompress(zipped) == body, (status, packed)
    assert get(packed, **{"Accept-Encoding": "gzip"}) == (304, packed, b"")
    daemon.post("/cache/clear")
    status, later, _ = get(tag)
    assert status == 200 and later != tag, (status, later)


def case_decimals_that_are_none_end_the_start(daemon, history):  # pylint: disable=unused-argument
    for decimals in ("10", "-2", "1.5"):
        other = Daemon("scripts/fleet", "--forecast-decimals", decimals)
        try:
            other.start()
        except RuntimeError as error:
            assert "config.lua: forecast_decimals must be a whole number" in str(error), error
        else:
            raise AssertionError(f"it starts with {decimals} decimals")
        finally:
            other.__exit__()


def pass_to(daemon, now_ms):
    """Moves the daemon's clock on and waits for what that brings."""
    subprocess.run([MOONDIAL, "control", json.dumps({"op": "clock", "now_ms": now_ms}), "--state",
                    os.path.join(daemon.state, "state")], check=True, capture_output=True)


def case_forecasts_can_wait_until_somebody_asks(daemon, history):
    want = daemon.get("/predictions/current")[1]["predictions"]
    for ahead in ("forecast", "nothing"):
        with Daemon("scripts/fleet", "--forecast-ahead", ahead,
                    now_ms=history.end_ms - 60000) as other:
            history.send(other)
            pass_to(other, history.end_ms + 120000)
            runs = re.findall(r'moondial_inferences_total\{.*"tft".*\} (\d+)',
                              other.get("/metrics")[1])
            assert any(map(int, runs)) == (ahead == "forecast"), (ahead, runs)
            assert other.get("/predictions/current")[1]["predictions"] == want, ahead
            assert not other.get("/health")[1].get("degraded"), other.get("/health")
    with_another_word = Daemon("scripts/fleet", "--forecast-ahead", "all")
    try:
        with_another_word.start()
    except RuntimeError as error:
        assert "config.lua: forecast_ahead must be" in str(error), error
    else:
        raise AssertionError("it starts")
    finally:
        with_another_word.__exit__()
