"""Texts of mixed length: 2,000 of them, made of the sentences below; most are one sentence, some are paragraphs."""

from __future__ import annotations

import random

SENTENCES = """
The ferry leaves at six and takes a little under two hours.
Rain is expected in the hills by the evening.
She repaired the old clock with a spring from another one.
Most of the river's water comes from snow that melted weeks before.
Nobody had told the night guard that the museum would open early.
A good index is worth more than a fast disk.
The bread was still warm when the shop opened.
He kept the receipts of thirty years in shoe boxes, sorted by colour.
Copper conducts heat better than iron does.
The committee met twice, disagreed politely, and adjourned until spring.
Two of the bridges were closed, so the procession went the long way round the harbour.
Birds that nest on cliffs lay eggs that roll in a circle.
Turn left at the mill, then follow the wall until it ends.
The report was late because its author wanted one more season of measurements.
Salt lowers the temperature at which water freezes.
After the storm the beach was covered with wood, rope, and a single red chair.
It is cheaper to insulate the roof than to heat the street.
The orchestra tuned for so long that the audience began to applaud.
Every translation is also an interpretation.
The train to the coast was full of people who carried skis.
Old maps show a village where the lake is now.
My grandmother measured flour with a cup that had lost its handle.
The patient was seen on Monday and discharged on Thursday without complaints.
Glass is made of sand, soda and lime, and a great deal of heat.
They painted the door blue so that visitors from the city would find the house.
The committee's minutes run to four hundred pages, and none of them mentions the fire.
Small boats stay close to the shore when the wind comes from the north.
The lock could be opened with a hairpin, which everybody knew and nobody mentioned.
Bees find their way by the position of the sun, even behind clouds.
The price of wheat doubled within a year and then fell below what it had been.
A letter from the bank had been lying under the mat for a month.
The new line will connect the two valleys and save an hour on the way to the capital.
Nothing in the contract says who must clear the snow.
The recipe asks for butter, but oil will do.
When the factory closed, the canal became clean enough to swim in.
The teacher let them choose between an essay on volcanoes and a model of one.
At high water the island is three islands.
He learned the language from a dictionary and spoke it like one.
The elevator stopped between the fourth floor and the fifth, as it did every winter.
Satellites measured the height of the glacier to within a few centimetres.
The jury believed the gardener, who had no reason to lie.
Most accidents happen on roads that people know well.
The library lends tools, cake tins and, since last year, a telescope.
Her first novel took nine years, her second nine weeks.
The wall between the gardens was low enough to talk across and high enough not to.
In the desert the nights are cold because the air is dry.
The auction began with a box of keys that fitted no lock in the house.
A violin that is not played loses its voice.
Please return the form with both signatures before the end of the month.
The mayor promised a tunnel, and the next mayor promised to finish it.
Tea was first a medicine, then a luxury, and then simply what one drank.
The lighthouse has been automatic for decades, but someone still polishes the brass.
""".strip().splitlines()


def texts(count: int = 2000, seed: int = 0) -> list[str]:
    """Return texts of one to twelve sentences, most of them short, none of them twice in a row alike."""
    generator = random.Random(seed)
    lengths = [1] * 12 + [2] * 5 + [3] * 3 + [5, 8, 12]
    return [" ".join(generator.sample(SENTENCES, generator.choice(lengths))) for _ in range(count)]
