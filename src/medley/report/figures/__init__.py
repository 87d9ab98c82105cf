"""Pictures as pure functions: arrays in, a matplotlib figure out. Colours are those of Okabe and Ito, which people with
colour-blindness can tell apart; line styles, markers and hatches repeat what colours say, for print in black and white.
"""
