"""A short story in ordinary English, written for this course: a text with more words than the captions have.

Byte-pair encoding finds a word list in the captions, which use some eighty words. Here it meets endings, beginnings
and words that occur once, as it does in the texts that real tokenizers are trained on.
"""

from __future__ import annotations

STORY = (
    "Every morning, before the baker had finished lighting her ovens, Miriam was already sitting at the long table in the "
    "workshop, sorting buttons. She liked working early. Nothing was moving in the street, nobody was asking for anything, "
    "and the light coming through the window was changing so slowly that she could follow it across the floor. There were "
    "black buttons for noses, amber buttons for eyes, and a tin of mismatched ones that she was saving without knowing why.",
    "The bears came to her from everywhere. Some had been loved until their fur was thin. Some had been forgotten in attics "
    "and had lost nothing but their colour. One had arrived in a parcel without a letter, unwrapped and unwanted, with one "
    "arm hanging by a thread. Miriam was not asking where they had been. She was unpicking, washing, filling and sewing, and "
    "while her hands were working she was thinking of other things: of the garden, of the weather, of her brother, who was "
    "always promising to visit and was always finding something better to do.",
    "That winter a boy began coming into the shop. He was called Tomas, and he was nine years old, and he was carrying an "
    "elephant under his coat so that the snow would not touch it. The elephant was grey, or it had been grey. Its trunk was "
    "hanging to one side and one of its ears was missing. “I would like to have him mended,” said the boy, “but he must not "
    "be changed.” Miriam was turning the elephant over in her hands. She was looking at the stitching, which was uneven, and "
    "at the stuffing, which was leaving through a hole behind the knee. “Mending is changing,” she said. “There is no mending "
    "without changing something. The question is only what we are keeping.”",
    "The boy was silent for a long time. Outside, the snow was falling and falling. Then he said that the smell was "
    "important, and the weight, and the way in which the head was leaning against his neck when he was sleeping. The ear was "
    "unimportant. He had been listening without that ear for as long as he could remember, and the elephant had never been "
    "unkind about it. Miriam was writing everything down: smell, weight, leaning. She had never been given such a list. Other "
    "people were asking for brightness, for softness, for whiteness, for something looking like new.",
    "For three evenings she was trying one thing after another. She was weighing sawdust and wool on the kitchen scales. She "
    "was closing the hole with the smallest stitches that she had ever made, and unmaking them, and making them again, "
    "because a seam that is too tight is pulling the whole leg upwards. She was leaving the fur unwashed. On the third evening "
    "she was holding the elephant against her own neck, feeling rather foolish, and the head was leaning exactly as it "
    "should, heavily and a little to the left, like somebody who is listening to something in another room.",
    "When the boy came back she was not saying anything. She was putting the elephant on the table and waiting. He was "
    "standing there with his hands in his pockets, looking, and then he was breathing in, slowly, with his eyes closed. "
    "“You have kept him,” he said. He was paying with coins from a jar, counting them one by one, and Miriam was letting him "
    "count, although it was taking a long time and the kettle was boiling. Afterwards she was standing at the window and "
    "watching the two of them going up the hill, the boy walking and the elephant, as always, travelling under the coat.",
    "Since that winter there has been a card hanging above the long table, between the scissors and the thread. The writing "
    "is uneven, because it was written quickly. It says: what are we keeping? Whoever is bringing a bear, a rabbit or a "
    "mouse is asked this question before anything else, and nobody has ever found it unreasonable. Some people are thinking "
    "about it for a whole day. Some are beginning to laugh. And some are taking the animal home again, unmended, having "
    "understood that there was nothing missing.",
)
"""The paragraphs, in their order."""

SEQUEL = (
    "In spring the boy was coming down the hill again, this time without his coat. He was bringing nothing for mending. He "
    "was only wondering whether he might be helping, in the afternoons, with the buttons or the sweeping. Miriam was thinking "
    "it over while she was unwinding a reel of thread. Then she was pushing a tin across the table, the one with the "
    "mismatched buttons, and said that there was something unfinished in it."
)
"""One more paragraph, for tests on a text that no merge has been learnt from."""
