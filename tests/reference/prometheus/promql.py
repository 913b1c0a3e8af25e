"""Alert rules written twice: for Prometheus, and for alert_series.c.

A rule is a dictionary: name, watch (current, forecast, absent), columns, below, limit, clear, for,
keep and within (minutes), labels, instances_max if any; a limit is (of others or None, {profile:
number}).

How a rule becomes an expression (v: values, f: forecasts with a label `step`; both carry the labels
server, metric and profile, as our alerts do):

    above 5                     v{metric="cpu"} >= 5
    above 5, database = 9       v{profile!="database"} >= 5 or v{profile="database"} >= 9
    clear_below 3               ... or (v >= 3 and on (server, metric) ALERTS{alertname="itself"})
    forecast within 3 minutes   max without (step) (f{step=~"1|2|3"}) in place of v
    absent                      count_over_time(v[1d]) unless v
"""

STEPS = 12


def selector(rule, matchers):
    """What a rule looks at, of some profiles."""
    columns = "|".join(rule["columns"])
    inside = ",".join([f'metric=~"{columns}"'] + matchers)
    if rule["watch"] != "forecast":
        return "v{%s}" % inside
    steps = "|".join(str(step + 1) for step in range(min(rule["within"], STEPS)))
    return 'max without (step) (f{%s,step=~"%s"})' % (inside, steps)


def compared(rule, limit, matchers):
    fallback, by_profile = limit
    sign = "<=" if rule["below"] else ">="
    parts = [f'{selector(rule, matchers + [profile_is(name)])} {sign} {value}'
             for name, value in by_profile.items()]
    if fallback is not None:
        others = "|".join(by_profile)
        without = [f'profile!~"{others}"'] if by_profile else []
        parts.append(f"{selector(rule, matchers + without)} {sign} {fallback}")
    return " or ".join(parts)


def profile_is(name):
    return f'profile="{name}"'


def expression(rule):
    if rule["watch"] == "absent":
        one = selector(rule, [])
        return f"count_over_time({one}[1d]) unless {one}"
    text = compared(rule, rule["limit"], [])
    if rule["clear"]:
        # What another profile's limit does not concern, clear does not either.
        concerned = selector(rule, [])
        if rule["limit"][0] is None:
            concerned = " or ".join(selector(rule, [profile_is(name)]) for name in rule["limit"][1])
        text += (f' or ((({compared(rule, rule["clear"], [])}) and ({concerned}))'
                 f' and on (server, metric) ALERTS{{alertname="{rule["name"]}"}})')
    if rule["below"] and rule["watch"] == "forecast":
        text = text.replace("max without", "min without")
    return text


def rules_file(rules):
    lines = ["groups:"]
    for rule in rules:
        lines += [f"- name: {rule['name']}", f"  limit: {rule.get('instances_max', 0)}",
                  "  rules:", f"  - alert: {rule['name']}",
                  f"    expr: '{rule.get('expr') or expression(rule)}'", f"    for: {rule['for']}m",
                  f"    keep_firing_for: {rule['keep']}m", "    labels: {severity: warning%s}"
                  % "".join(f", {name}: {value}" for name, value in rule["labels"].items())]
    return "\n".join(lines) + "\n"


# ---- for alert_series.c --------------------------------------------------------------------------

def limit_words(limit):
    if limit is None:
        return "-"
    fallback, by_profile = limit
    return ",".join(["-" if fallback is None else str(fallback)] +
                    [f"{name}={value}" for name, value in by_profile.items()])


def rule_line(rule):
    labels = [f"{name}={value}" for name, value in rule["labels"].items()]
    return " ".join(str(word) for word in (
        "rule", rule["name"], rule["watch"], ",".join(rule["columns"]),
        "below" if rule["below"] else "above", limit_words(rule["limit"]),
        limit_words(rule["clear"]), rule["for"], rule["keep"], rule["within"],
        rule.get("instances_max", 0), labels[0] if labels else "-"))
