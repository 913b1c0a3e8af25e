"""Less than the whole answer, and none for who has it; tests/fleet/run takes its cases from here
as well."""
import formulas

__all__ = ["case_less_can_be_asked_for"]


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
