"""What people look at and touch.

`plots` are figures, `views` attention in bertviz, and `widgets` the desks; their scripts are in
static/. Words and numbers that they share are in `wording`.
"""
