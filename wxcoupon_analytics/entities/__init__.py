"""What the API's answers are made of: their fields, their frames, and the way from the one to the other.

``fields`` declares what the API says, ``schemas`` makes columns of it, ``flatten`` brings answers into them, and
``fitting`` is what it falls back on when an answer has drifted.
"""
