"""Less than the whole answer, and none for who has it; tests/fleet/run takes its cases from here
as well."""
import gzip
import re
import urllib.error
import urllib.request

import formulas
from daemon import Daemon

__all__ = ["case_less_can_be_asked_for", "case_what_a_client_has_is_not_sent_again",
           "case_decimals_that_are_none_end_the_start"]


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
