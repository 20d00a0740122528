"""Does asking for an end within a budget of tokens help, against cutting the text off there?"""
