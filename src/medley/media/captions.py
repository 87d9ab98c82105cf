"""Writes the captions of a simulated catalogue: sentences about the topic and the form of a cluster.

A cluster decides topic and form (`travel tips`, as in the titles), an item the sentence, the details, and words that
belong to no cluster.
"""

import numpy as np

TOPICS = {
    "travel": ("a slow train", "the harbour", "a window seat", "an old map", "the border", "a cheap hostel"),
    "cooking": ("fresh noodles", "a hot pan", "sourdough", "garlic and lemon", "a clay oven", "the spice rack"),
    "style": ("a linen coat", "silver rings", "denim", "a wide hat", "vintage boots", "a silk scarf"),
    "fitness": ("push-ups", "a long run", "the yoga mat", "heavy weights", "sore muscles", "a morning swim"),
    "pet": ("a sleepy kitten", "the dog park", "a parrot", "a rescued puppy", "hamsters", "the cat's tail"),
    "gaming": ("the final boss", "a new console", "a speedrun", "pixel art", "the leaderboard", "co-op mode"),
    "study": ("flash cards", "the library", "exam week", "a maths proof", "lecture notes", "a quiet desk"),
    "craft": ("knitting wool", "wood glue", "paper cranes", "a pottery wheel", "embroidery", "watercolours"),
}
FORMS = {
    "tips": ("Five tips: {topic} with {one}.", "Handy {topic} tips about {one} and {two}."),
    "diary": ("My {topic} diary, today: {one}.", "Dear diary, a {topic} day of {one} and {two}."),
    "challenge": ("A {topic} challenge: {one} for thirty days.", "Can you beat this {topic} challenge with {one}?"),
    "review": ("An honest {topic} review of {one}.", "Review: {one}, worth the money? {topic}, rated out of ten."),
    "story": ("A {topic} story about {one} and {two}.", "All about {one}: a {topic} story."),
    "tricks": ("Secret {topic} tricks for {one}.", "Three tricks with {one} that {topic} fans hide."),
    "news": ("Breaking {topic} news: the return of {one}.", "This week in {topic} news, {one} and {two}."),
    "quiz": ("A {topic} quiz: what do you know about {one}?", "Guess {one}! The great {topic} quiz."),
}
ENDINGS = ("", " Enjoy!", " Part two follows.", " Filmed on a Sunday.", " Comments are open.", " Thanks for watching.")


def caption(phrase: str, rng: np.random.Generator) -> str:
    """Writes the caption of one item.

    Args:
        phrase: the name of its cluster, `travel tips`; or any other name, which the caption then repeats.
        rng: of everything in which items of a cluster differ.
    """
    topic, _, form = phrase.rpartition(" ")
    one, two = rng.permutation(TOPICS.get(topic, ("the first part", "the second part", "all of it")))[:2]
    sentences = FORMS.get(form, ("About {phrase}: {one}.", "More of {phrase}, with {one} and {two}."))
    sentence = sentences[rng.integers(len(sentences))].format(phrase=phrase, topic=topic, one=one, two=two)
    return sentence[0].upper() + sentence[1:] + ENDINGS[rng.integers(len(ENDINGS))]
