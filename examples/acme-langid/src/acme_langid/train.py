"""``python -m acme_langid.train DIRECTORY``: train a checkpoint on a few sentences, in some seconds on a CPU."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from acme_langid.model import ByteConv, ByteConvConfig
from acme_langid.tokenizer import ByteTokenizer, pad

TEXTS = {
    "de": """
        Der Zug nach München fährt heute zehn Minuten später ab als sonst. Wir haben gestern Abend noch lange über die neue
        Wohnung gesprochen. Kannst du mir bitte sagen, wo das nächste Krankenhaus ist? Im Winter liegt auf den Bergen so viel
        Schnee, dass die Straßen gesperrt werden. Die Kinder spielen im Garten, während ihre Großmutter einen Kuchen bäckt.
        Ich möchte einen Tisch für zwei Personen bestellen. Das Buch, das auf dem Tisch liegt, gehört meiner Schwester.
        """,
    "en": """
        The train to London leaves ten minutes later than usual today. We talked about the new flat for a long time last
        night. Could you please tell me where the nearest hospital is? In winter there is so much snow on the mountains that
        the roads are closed. The children are playing in the garden while their grandmother bakes a cake. I would like to
        book a table for two people. The book which is lying on the table belongs to my sister.
        """,
    "es": """
        El tren para Madrid sale hoy diez minutos más tarde que de costumbre. Anoche hablamos mucho tiempo sobre el piso
        nuevo. ¿Podría decirme dónde está el hospital más cercano? En invierno hay tanta nieve en las montañas que se cierran
        las carreteras. Los niños juegan en el jardín mientras su abuela hace un pastel. Quisiera reservar una mesa para dos
        personas. El libro que está sobre la mesa es de mi hermana.
        """,
    "fr": """
        Le train pour Paris part aujourd'hui dix minutes plus tard que d'habitude. Hier soir nous avons longtemps parlé du
        nouvel appartement. Pourriez-vous me dire où se trouve l'hôpital le plus proche ? En hiver il y a tant de neige sur
        les montagnes que les routes sont fermées. Les enfants jouent dans le jardin pendant que leur grand-mère fait un
        gâteau. Je voudrais réserver une table pour deux personnes. Le livre qui est sur la table appartient à ma sœur.
        """,
    "it": """
        Il treno per Roma parte oggi dieci minuti più tardi del solito. Ieri sera abbiamo parlato a lungo del nuovo
        appartamento. Mi può dire per favore dov'è l'ospedale più vicino? D'inverno c'è così tanta neve sulle montagne che le
        strade vengono chiuse. I bambini giocano in giardino mentre la nonna prepara una torta. Vorrei prenotare un tavolo
        per due persone. Il libro che si trova sul tavolo è di mia sorella.
        """,
}
"""What is learned from: far too little for a product, enough to tell five languages apart."""


def train(steps: int = 150, seed: int = 0) -> ByteConv:
    """
    Train on random excerpts of `TEXTS`.

    Args:
        steps: Batches of 16 excerpts.
        seed: Of weights and excerpts.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = ByteConv(ByteConvConfig(labels=sorted(TEXTS)))
    tokenizer = ByteTokenizer()
    encoded = [tokenizer.encode(" ".join(TEXTS[label].split())) for label in model.config.labels]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        rows, answers = [], []
        for _ in range(16):
            answer, length = (int(torch.randint(*span, (), generator=generator)) for span in ((0, 5), (15, 60)))
            start = int(torch.randint(0, len(encoded[answer]) - length, (), generator=generator))
            rows.append(encoded[answer][start : start + length])
            answers.append(answer)
        loss = torch.nn.functional.cross_entropy(model(*pad(rows))["logits"], torch.tensor(answers))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    """Train, and save model and tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    train(arguments.steps).save(arguments.directory)
    ByteTokenizer().save(arguments.directory)


if __name__ == "__main__":
    main()
