"""What the API's answers are made of: their fields, their frames, and the way from the one to the other.

``fields`` declares what the API says, ``schemas`` makes columns of it (``casting`` says what may go into one), ``flatten``
brings answers into them: ``payloads`` reads their JSON, ``echoes`` cuts what they repeat, ``fitting`` is what it falls
back on when an answer has drifted. ``doubles`` says when two rows are one.
"""
