"""The three topics, the event type each carries, and the one partition count they share."""

from typing import Final

SESSION_RECORDED: Final = "session.recorded.v1"
CLAIM_SUBMITTED: Final = "claim.submitted.v1"
PAYER_RESPONSE: Final = "payer.response.v1"

# A claim's three topics are read by one tracker only where equal keys fall on equal partitions, hence one count.
TYPE_OF_TOPIC: Final = {
    "session-recorded": SESSION_RECORDED,
    "claim-submitted": CLAIM_SUBMITTED,
    "payer-response": PAYER_RESPONSE,
}
TOPIC_OF_TYPE: Final = {event_type: topic for topic, event_type in TYPE_OF_TOPIC.items()}
TOPICS: Final = tuple(TYPE_OF_TOPIC)
