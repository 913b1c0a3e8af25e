"""Lines on logarithmic axes as SVG, plain text and readable on light and dark pages."""

import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 620, 300, 60, 190, 40, 45
# What a page in dark mode shows instead.
STYLE = """<style>
text { fill: #222 } .grid { stroke: #ddd } .page { fill: #fff }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .grid { stroke: #444 } .page { fill: #161b22 }
}
</style>"""


def decades(low, high):
    """1, 10, 100 ... around both."""
    marks = [10.0 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    return marks if len(marks) > 1 else [marks[0], marks[0] * 10]


def lines(title, across, up, series, colours, bold=(), dashed=()):
    """series: {name: {x: y}}, numbers above 0; `across` and `up` say what x and y are. The names in
    `bold` are drawn thick, those in `dashed` for comparison only."""
    places = sorted({x for line in series.values() for x in line})
    values = [y for line in series.values() for y in line.values()]
    marks = decades(min(values), max(values))
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    span = math.log(places[-1] / places[0]) or 1

    def x_at(place):
        return LEFT + inner_width * math.log(place / places[0]) / span

    def y_at(value):
        share = math.log(value / marks[0]) / math.log(marks[-1] / marks[0])
        return TOP + inner_height * (1 - share)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             f'font-family="sans-serif" font-size="12">', STYLE,
             f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
             f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
             f'<text x="{LEFT}" y="{HEIGHT - 8}">{across}</text>',
             f'<text x="8" y="{TOP - 8}">{up}</text>']
    for mark in marks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_at(mark):.1f}" '
                     f'y2="{y_at(mark):.1f}"/>'
                     f'<text x="{LEFT - 6}" y="{y_at(mark) + 4:.1f}" text-anchor="end">'
                     f'{mark:g}</text>')
    for place in places:
        parts.append(f'<text x="{x_at(place):.1f}" y="{HEIGHT - BOTTOM + 18}" '
                     f'text-anchor="middle">{place}</text>')
    last = sorted(series, key=lambda name: -series[name][max(series[name])])
    for row, name in enumerate(last):
        colour = colours.get(name, "#888")
        points = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in sorted(series[name].items()))
        dash = ' stroke-dasharray="4 4"' if name in dashed else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                     f'stroke-width="{3 if name in bold else 1.5}"{dash}/>'
                     f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 12 + 18 * row}" '
                     f'style="fill: {colour}">{name}</text>')
    return "\n".join(parts + ["</svg>\n"])
