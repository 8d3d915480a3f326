"""Desks: widgets that move a model, or watch its training, and show what happens.

Of each desk ``*_report.py`` says what is drawn, as plain numbers and texts; the widget decides what
is computed when (`desk`, `worker`, `live`); the view is in ../static. `al.HeadMixer` and the others
are loaded one by one, when they are asked for.
"""
