"""The event stream of the fleet service; tests/fleet/run takes its cases from here as well."""
import json
import urllib.request


def case_events_tell_of_new_forecasts(daemon, _):
    """The clock stands still here, so there is the first event and no other."""
    status, whole = daemon.get("/predictions/current")
    assert status == 200, whole
    with urllib.request.urlopen(daemon.url + "/events", timeout=60) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        lines = [stream.readline().decode() for _ in range(3)]
    assert lines[0] == "event: forecast\n" and lines[2] == "\n", lines
    news = json.loads(lines[1].removeprefix("data: "))
    assert news["made_at"] == whole["metadata"]["prediction_time"], news
    assert news["servers"] >= len(whole["predictions"]) > 0, news
    assert news["alert_count"] == len(whole["alerts"]), news
