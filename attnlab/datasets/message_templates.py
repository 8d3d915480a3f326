"""Tables of synthetic messages to a shop: what people ask, in other words, and what is answered.

In a template ``[a|b]`` is a choice, and ``{slot}`` is filled in by `attnlab.datasets.messages`.
"""

from typing import NamedTuple

from attnlab.datasets.news_templates import items


class Entry(NamedTuple):
    """One entry of the answer book, and how people come to ask for it.

    Attributes
    ----------
    question, answer : as the book has them
    seen : templates of messages to learn from
    unseen : templates kept out of training
    """

    question: str
    answer: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]


SLOTS = {
    "item": items(
        "kettle, lamp, blender, headset, keyboard, backpack, toaster, drill, camera, tent, "
        "vacuum cleaner, coffee machine, desk chair, rain jacket, phone case, speaker"
    ),
    "city": items("Leeds, Cork, Utrecht, Bergen, Porto, Gdansk, Lyon, Graz"),
    "days": items("three, four, five, six, eight, nine, ten, twelve"),
    "day": items("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday"),
    "number": [str(4100 + 37 * step) for step in range(40)],
    "sum": items("12, 19, 24, 35, 49, 58, 75, 90, 120"),
}

BOOK: dict[str, tuple[Entry, ...]] = {
    "delivery": (
        Entry(
            "Where is my parcel?",
            "Parcels can be followed under Orders; after five working days we look for them.",
            (
                "My {item} was ordered {days} days ago and has not arrived[.| yet.]",
                "Order {number} still shows as shipped, but [nothing|no parcel] came.",
            ),
            (
                "I have waited for the {item} since {day} and nobody can tell me where it is.",
                "[Any news of|What happened to] {number}? It left {city} last {day}.",
            ),
        ),
        Entry(
            "Can I change the delivery address?",
            "Until it is shipped, the address can be changed under Orders, Edit.",
            (
                "Please change the delivery address of order {number} to {city}.",
                "I typed the wrong address for my {item}, can you [correct|change] it?",
            ),
            (
                "I am moving to {city} on {day}, so the {item} must not go to my old flat.",
                "Send {number} to my office instead of my home[, please|].",
            ),
        ),
        Entry(
            "The parcel was marked delivered, but I do not have it.",
            "Ask your neighbours first; then report it, and the carrier has two days to answer.",
            (
                "Tracking says my {item} was delivered on {day}, I [never got it|have nothing].",
                "The carrier marked {number} as delivered and there is no parcel at my door.",
            ),
            (
                "Somebody signed for the {item}, and it was not me.",
                "It seems {number} was left with a stranger in {city}, my doorstep is empty.",
            ),
        ),
        Entry(
            "How much does delivery abroad cost?",
            "Delivery abroad costs 9 within Europe and 19 elsewhere; it takes a week.",
            (
                "What is the delivery fee for a {item} to {city}?",
                "Do you ship to {city}, and what does shipping cost?",
            ),
            (
                "I live in {city}: would you post a {item} there, and for how much?",
                "How expensive is postage to [another country|a friend overseas]?",
            ),
        ),
    ),
    "refund": (
        Entry(
            "When do I get my money back?",
            "Refunds are paid within ten days after the goods arrived here.",
            (
                "I sent the {item} back {days} days ago and [still have no refund|got no refund].",
                "When will the refund of {sum} for order {number} be paid?",
            ),
            (
                "You have had my {item} back since {day}, so where are my {sum}?",
                "My bank [shows|has] nothing from you, although {number} was returned long ago.",
            ),
        ),
        Entry(
            "How do I return something?",
            "Print the label under Orders, Return, and hand the parcel in within 30 days.",
            (
                "How can I return the {item}? I need a return label.",
                "I want to send back order {number}, [what do I do|how does it work]?",
            ),
            (
                "The {item} is not for me. Which way do I get it to you again?",
                "Who collects what I [do not want|no longer want] to keep from {number}?",
            ),
        ),
        Entry(
            "Can I exchange it for another size or colour?",
            "Choose Exchange under Orders; the other one is sent when yours is on its way.",
            (
                "Can I exchange the {item} for a different colour?",
                "I would like to swap the {item} of order {number} for a larger size.",
            ),
            (
                "The {item} is too small, do you have [a bigger one|one size up] instead?",
                "Please replace the blue {item} with the grey one.",
            ),
        ),
        Entry(
            "Can I cancel my order?",
            "Until it is packed, cancel it under Orders; after that, refuse the parcel.",
            (
                "Please cancel order {number}.",
                "I [ordered the {item} by mistake and|no longer need the {item} and] want to "
                "cancel it.",
            ),
            (
                "Stop {number}, I found the {item} elsewhere on {day}.",
                "My [daughter|son] bought a {item} with my card, can this be undone?",
            ),
        ),
    ),
    "defect": (
        Entry(
            "It does not switch on.",
            "Charge it for two hours and hold the button for ten seconds; else we replace it.",
            (
                "The {item} does not [turn|switch] on.",
                "My new {item} will not start, the button does nothing.",
            ),
            (
                "I press and press, but the {item} stays dead.",
                "No light, no sound: the {item} from {number} shows no sign of life.",
            ),
        ),
        Entry(
            "It arrived broken.",
            "Send us a picture within a week, and a new one leaves the same day.",
            (
                "The {item} arrived broken[.|, the box was damaged.]",
                "There is a crack in the {item} that came on {day}.",
            ),
            (
                "When I opened the carton from {city}, the {item} was in pieces.",
                "The {item} must have been dropped on its way, one side is smashed.",
            ),
        ),
        Entry(
            "It stopped working after some time.",
            "The guarantee is two years; describe the fault and we repair or replace it.",
            (
                "After {days} weeks the {item} stopped working.",
                "My {item} broke after {days} months, is that covered by the guarantee?",
            ),
            (
                "For {days} months all was fine, and on {day} the {item} gave up.",
                "The {item} [died|failed] far too early, do you repair such things?",
            ),
        ),
        Entry(
            "A part is missing.",
            "Tell us which part, and we send it free of charge.",
            (
                "A part is missing from the {item}.",
                "Order {number} came without the cable and the screws.",
            ),
            (
                "I cannot put the {item} together, as there [was|is] no bag of screws in the box.",
                "You forgot to pack the charger of my {item}.",
            ),
        ),
    ),
    "account": (
        Entry(
            "I forgot my password.",
            "Choose Forgot password at the door; the link that we send is good for an hour.",
            (
                "I forgot my password and cannot log in.",
                "The password reset mail [never arrives|does not come].",
            ),
            (
                "Since {day} your site does not let me in, it says my secret word is wrong.",
                "I am locked out after {days} attempts.",
            ),
        ),
        Entry(
            "How do I change my e-mail address?",
            "Under Account, Details; both addresses get a mail to confirm.",
            (
                "How do I change the e-mail address of my account?",
                "Please update my e-mail, the old one [is closed|no longer exists].",
            ),
            (
                "I have a new provider, so messages from you reach the wrong inbox.",
                "Your letters about {number} still go to my former employer.",
            ),
        ),
        Entry(
            "Please delete my account.",
            "Under Account, Privacy, Delete; everything but invoices is gone after 30 days.",
            (
                "Please delete my account and my data.",
                "I want to close my account for good.",
            ),
            (
                "Remove everything that you have stored about me.",
                "I do not wish to be a customer any longer, take me out of your files.",
            ),
        ),
        Entry(
            "How do I stop the newsletter?",
            "Every newsletter has Unsubscribe at its end; it takes a day.",
            (
                "Please unsubscribe me from the newsletter.",
                "I get {days} newsletters a week, how do I stop them?",
            ),
            (
                "Your advertising fills my mailbox, I never asked for it.",
                "No more offers about a {item}, please, I [bought|have] one.",
            ),
        ),
    ),
    "payment": (
        Entry(
            "I was charged twice.",
            "A second charge is mostly a reservation and goes after three days; else we pay back.",
            (
                "I was charged twice for order {number}.",
                "My card was debited {sum} two times for one {item}.",
            ),
            (
                "I see {sum} on my statement, and the same {sum} again.",
                "For a single {item} you took the money double.",
            ),
        ),
        Entry(
            "My card is refused.",
            "Ask your bank to allow online payments, or pay by transfer.",
            (
                "My credit card is refused when I try to pay.",
                "The payment for the {item} [fails|does not go through].",
            ),
            (
                "At the last step the page says declined, with {sum} in my basket.",
                "I cannot complete {number}, neither Visa nor PayPal is accepted.",
            ),
        ),
        Entry(
            "I need an invoice.",
            "Invoices are under Orders, as PDF; the company's name can be added there.",
            (
                "Please send me the invoice for order {number}.",
                "I need an invoice for the {item} with the VAT number of my company.",
            ),
            (
                "My accountant asks for a bill of the {sum} that I spent on {day}.",
                "Where is the paper for the tax office about {number}?",
            ),
        ),
        Entry(
            "My voucher does not work.",
            "A voucher is good for one order of 20 or more, and not for reduced goods.",
            (
                "My voucher code does not work.",
                "The discount code of {sum} was not accepted for the {item}.",
            ),
            (
                "You promised {sum} off, and the price in the basket [is the same|did not move].",
                "The gift card from my aunt is said to be invalid.",
            ),
        ),
    ),
    "praise": (
        Entry(
            "Thank you for the quick delivery.",
            "Thank you! We pass it on to our warehouse.",
            (
                "Thank you for the [quick|fast] delivery of my {item}.",
                "The {item} arrived [a day early|the next day], great service!",
            ),
            (
                "Ordered on {day}, here in {city} the morning after: wonderful.",
                "I have never had a {item} in my hands so soon.",
            ),
        ),
        Entry(
            "I am very happy with the product.",
            "How good to hear! A review helps others to choose.",
            (
                "I love my new {item}, it is excellent.",
                "The {item} works [perfectly|very well], I am very happy.",
            ),
            (
                "After {days} weeks the {item} still makes me smile every day.",
                "This {item} is worth every cent of the {sum}.",
            ),
        ),
        Entry(
            "Your support was very helpful.",
            "Thank you! We tell the colleague who helped you.",
            (
                "Your support was very [helpful|friendly], thank you.",
                "Thanks to your team for the quick help with order {number}.",
            ),
            (
                "The lady on the phone on {day} solved my problem in {days} minutes, hats off.",
                "[Such patience with my questions is|So much patience is] rare, well done.",
            ),
        ),
        Entry(
            "I recommend your shop.",
            "Thank you! For each friend who orders there is a voucher.",
            (
                "Best shop, I recommend it to all my friends.",
                "I will [definitely|certainly] buy from you again.",
            ),
            (
                "My colleagues in {city} now all order their {item} from you.",
                "From now on I shall go nowhere else for a {item}.",
            ),
        ),
    ),
}
