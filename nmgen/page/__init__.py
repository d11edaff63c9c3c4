"""Results as a page: one HTML file with its style, script and data inside, which opens without a network.

The plots are SVG, drawn by the few hundred lines of plot.js and explore.js. A library of plots would be 200 times as
large: plotly 4.8 MB a page, Bokeh 1.3 MB, beside 25 kB. SVG needs nothing further to print, to be selected by style
sheets (dark, light, paper) and to be looked into by tests; a few thousand marks are drawn in a fraction of a second.
"""
