"""A mailbox that a file beside it tells which mails not to take."""

import json
import random
from collections import Counter
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.handlers import Mailbox


class MoodyMailbox(Mailbox):
    def __init__(self, mail_dir, mood):
        super().__init__(mail_dir)
        self.mood = Path(mood)
        self.refused = Counter()

    @classmethod
    def from_cli(cls, parser, *args):
        return cls(*args)

    async def handle_DATA(self, server, session, envelope):
        if self.mood.exists():
            mood = json.loads(self.mood.read_text())
            mail = message_from_bytes(envelope.content)["Message-ID"]
            if self.refused[mail] < mood["times"] and random.random() < mood["share"]:
                self.refused[mail] += 1
                return mood["reply"]
        return await super().handle_DATA(server, session, envelope)
