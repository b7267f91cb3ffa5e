"""The words of the help desk: products, intents and small talk, as data.

`{product}` stands for a noun phrase such as "my Norvo kettle", `{thing}` for the bare product name.
Invented brands and people only; no company's queue names (see company.py) may stand here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """Something a shop sells; `line` is the shelf it stands on."""

    name: str
    line: str


@dataclass(frozen=True)
class Intent:
    """What a customer wants, hidden behind many ways of saying it."""

    name: str
    topic: str
    summary: str
    action: str
    sayings: tuple[str, ...]


LINES = {
    "kitchen": "kettle,toaster,blender,coffee maker,rice cooker,mixer,juicer,oven,waffle iron,"
    "ice maker,fridge,dishwasher,food scale,bread maker",
    "garden": "lawn mower,hedge trimmer,leaf blower,water pump,chain saw,sprinkler,wood chipper,"
    "pressure washer,garden light,pool cleaner,grill,soil sensor",
    "audio": "headset,speaker,radio,soundbar,turntable,microphone,amplifier,earbud case,"
    "karaoke box,projector,television,game console",
    "home": "vacuum cleaner,heater,fan,lamp,humidifier,steam iron,sewing machine,door camera,"
    "thermostat,air purifier,washing machine,dryer,alarm clock,smoke detector",
}


def words_of(line: str) -> tuple[str, ...]:
    """The words of a line: tables stand here as lines, not as columns of one word each."""
    return tuple(line.split())


PRODUCTS = tuple(Product(n, line) for line, names in LINES.items() for n in names.split(","))
BRANDS = words_of("Norvo Talvi Brisk Ostara Kelm Vantor Pilo Mirea Duro Solen Fenwick Aruba")
COLOURS = words_of("black white red blue green grey silver yellow")
PEOPLE = words_of(
    "Maria Tom Aisha Jonas Wei Lena Omar Priya Hugo Nina Pavel Sofia Daniel Yuki Clara Ahmed "
    "Eva Lucas Ines Peter Fatima Oscar Ruth Ivan Marta Kofi Elsa Diego Hanna Liam"
)
DAYS = words_of("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
TOWNS = words_of("Bergen Porto Graz Leeds Turku Ghent Lyon Bari Gdansk Malmo Split Cork")


def _intent(name: str, topic: str, summary: str, action: str, sayings: str) -> Intent:
    return Intent(name, topic, summary, action, tuple(s.strip() for s in sayings.split("|")))


INTENTS = (
    _intent("late_delivery", "delivery", "late delivery of the {thing}", "ask the carrier where the parcel is",
        "{product} was due on {day} and still has not come|the delivery of {product} is late"
        "|I have been waiting for {product} since {day}|{product} should have arrived by now"),
    _intent("lost_parcel", "delivery", "lost parcel with the {thing}", "open a search for the parcel",
        "the tracking says delivered but {product} is not here|the parcel with {product} is lost"
        "|nobody knows where {product} went|{product} never arrived and the neighbours have nothing"),
    _intent("track_order", "delivery", "tracking of the {thing}", "send you the tracking link",
        "where is {product} right now|can I get a tracking link for {product}"
        "|when will {product} be shipped|has {product} left the warehouse yet"),
    _intent("change_address", "delivery", "new delivery address for the {thing}", "change the delivery address",
        "please send {product} to my office in {town} instead|I moved to {town}, change the delivery address of {product}"
        "|the address for {product} is wrong, the parcel has to go to {town}"),
    _intent("delivery_slot", "delivery", "new delivery day for the {thing}", "book another delivery day",
        "can {product} be delivered on {day} instead|I am not at home on {day}, deliver {product} another day"
        "|I need another delivery slot for {product}"),
    _intent("arrived_damaged", "parcel content", "{thing} arrived damaged", "send a new one at no cost",
        "{product} came out of the box with a crack|the parcel was crushed and {product} is dented"
        "|{product} arrived broken|when I unpacked {product} it was scratched all over"),
    _intent("wrong_item", "parcel content", "wrong item instead of the {thing}", "send the right item",
        "I ordered {product} and got something else|you sent me the wrong article instead of {product}"
        "|somebody mixed up the boxes, this is not {product}"),
    _intent("missing_part", "parcel content", "missing part in the box of the {thing}", "send the missing part",
        "the box of {product} had no power cord inside|a screw bag was missing from the box with {product}"
        "|there was no plug in the package of {product}|the box of {product} was not complete"),
    _intent("cancel_order", "order", "cancel the order of the {thing}", "cancel the order",
        "please cancel my order for {product}|I do not want {product} any more, stop the order"
        "|I clicked twice, cancel one order of {product}|call off the order of {product}"),
    _intent("change_order", "order", "change the order of the {thing}", "change the order",
        "I want to order two instead of one of {product}|change the colour of {product} in my order to {colour}"
        "|please add a second one to my order of {product}|can I still change my order of {product}"),
    _intent("bulk_quote", "order", "bulk order of the {thing}", "prepare an offer",
        "we need {number} pieces of {product} for our office, please make an offer"
        "|can our school order {number} units of {product}|I want a quote for {number} times {product}"),
    _intent("stock_question", "order", "stock of the {thing}", "check the stock",
        "when will {product} be back in stock|is {product} sold out for good"
        "|do you still have {product} in {colour}|can I pre-order {product}"),
    _intent("double_charge", "payment", "charged twice for the {thing}", "check the payments",
        "you charged my card twice for {product}|I see two payments for {product} on my statement"
        "|I paid double for {product}|the money for {product} was taken two times"),
    _intent("card_declined", "payment", "declined card for the {thing}", "look at the failed payment",
        "my card is declined when I try to pay for {product}|the payment for {product} fails every time"
        "|the checkout does not take my card for {product}"),
    _intent("instalments", "payment", "instalments for the {thing}", "send you the payment plan",
        "can I pay for {product} in instalments|I would like to pay {product} monthly"
        "|please move the next rate for {product} to the end of the month"),
    _intent("invoice_copy", "invoice", "invoice copy for the {thing}", "send the invoice again",
        "I need a copy of the invoice for {product}|please mail me the bill of {product} again"
        "|the receipt for {product} got lost, can you send a new one"),
    _intent("invoice_name", "invoice", "wrong name on the invoice of the {thing}", "correct the invoice",
        "the name on the invoice for {product} is wrong|put our company name on the invoice of {product}"
        "|the bill for {product} shows an old name, please correct the bill"),
    _intent("tax_number", "invoice", "tax number for the {thing}", "add the tax number",
        "please add our tax number to the bill for {product}|the invoice of {product} shows no tax number"
        "|was sales tax included in the bill for {product}"),
    _intent("return_unused", "return", "return of the {thing}", "send a return label",
        "I want to send {product} back unused|how do I return {product}|{product} is not for me, I want to return it"
        "|please send a return label for {product}"),
    _intent("refund_status", "return", "refund for the {thing}", "check the refund",
        "I returned {product} on {day} and have no refund yet|where is my money back for {product}"
        "|when do I get the refund for {product}"),
    _intent("exchange", "return", "exchange of the {thing}", "arrange the exchange",
        "I want to exchange {product} for a {colour} one|can I swap {product} for a larger model"
        "|please exchange {product} for another model"),
    _intent("discount_code", "price", "discount code for the {thing}", "check the discount code",
        "my discount code does not work for {product}|the coupon for {product} is refused"
        "|I forgot to use my voucher when I bought {product}"),
    _intent("price_match", "price", "lower price for the {thing}", "compare the prices",
        "I saw {product} cheaper in another shop, do you match the price|{product} got cheaper right after I paid"
        "|is there a special offer for {product} soon|the price of {product} is different on your page"),
    _intent("loyalty_points", "price", "bonus points for the {thing}", "add the bonus points",
        "I did not get my bonus points for {product}|can I pay {product} with my bonus points"
        "|how many bonus points do I get for {product}"),
    _intent("no_power", "fault", "{thing} does not turn on", "find out why it does not start",
        "{product} does not turn on|{product} is dead, no light, nothing|{product} stopped working on {day}"
        "|I press the button and {product} does not start"),
    _intent("strange_noise", "fault", "{thing} makes a noise", "find out where the noise comes from",
        "{product} makes a strange noise|there is a loud rattle inside {product}|{product} hums and squeaks since {day}"),
    _intent("stops_early", "fault", "{thing} stops by itself", "find out why it stops",
        "{product} turns itself off after {number} minutes|{product} stops in the middle of its work"
        "|{product} keeps shutting down by itself"),
    _intent("broken_button", "fault", "broken button on the {thing}", "look at the button",
        "the main button of {product} is stuck|a knob on {product} came off|the switch of {product} is broken"),
    _intent("display_fault", "fault", "error light on the {thing}", "look up the error",
        "{product} shows error {number} and does nothing|the display of {product} stays black"
        "|a red light blinks on {product} all the time"),
    _intent("warranty_claim", "repair", "warranty for the {thing}", "check the warranty",
        "is {product} still under warranty|I want to use the warranty of {product}"
        "|how long is the guarantee on {product}"),
    _intent("repair_status", "repair", "repair of the {thing}", "ask the workshop",
        "{product} has been in your workshop for {number} days, is the repair done|when do I get {product} back from repair"
        "|what is the state of the repair of {product}"),
    _intent("spare_part", "repair", "spare part for the {thing}", "order the spare part",
        "where can I buy a spare filter for {product}|I need a new lid as a spare part for {product}"
        "|do you sell spare parts for {product}"),
    _intent("pairing", "app", "pairing of the {thing}", "help you with the pairing",
        "the app does not find {product}|I cannot pair {product} with my phone|{product} does not connect to the wifi"),
    _intent("firmware", "app", "update of the {thing}", "help you with the update",
        "the software update of {product} hangs at {number} percent|the new firmware for {product} does not install"
        "|after the last update the app says {product} is offline"),
    _intent("app_crash", "app", "app crash with the {thing}", "look into the app",
        "the app closes when I tap on {product}|your app crashes as soon as I add {product}"
        "|the app shows an empty page for {product}"),
    _intent("password", "account", "password reset", "send a link for a new password",
        "I forgot my password and cannot log in to register {product}|please reset my password, I want to log in and buy {product}"
        "|the password mail does not come and {product} is in my basket"),
    _intent("locked", "account", "locked account", "unlock the account",
        "my account is locked and I cannot order {product}|I cannot get into my account to see {product}"
        "|the login code never comes, my account shows {product} but I am locked out"),
    _intent("change_email", "account", "new email address", "change the email address",
        "please change the email address of my account, the one I used for {product} is old"
        "|I have a new email, update my account where {product} is registered"),
    _intent("delete_data", "account", "delete personal data", "delete the data",
        "delete my account and all my data, also those about {product}|please remove my personal data, I only bought {product}"
        "|which personal data did you store when I bought {product}"),
    _intent("manual", "advice", "manual for the {thing}", "send the manual",
        "where do I find the manual of {product}|I lost the instructions of {product}"
        "|do you have a printed manual for {product}"),
    _intent("cleaning", "advice", "cleaning of the {thing}", "explain the cleaning",
        "how do I clean {product}|which cleaner is safe for {product}|can I wash the parts of {product} by hand"),
    _intent("how_to", "advice", "use of the {thing}", "explain the settings",
        "how do I set the timer of {product}|which setting of {product} is best for beginners"
        "|how much power does {product} use|can I use {product} outside"),
    _intent("smoke", "safety", "smoke from the {thing}", "call you about safety at once",
        "smoke came out of {product}|{product} smells burnt|there were sparks from the plug of {product}"
        "|{product} melted its own cable"),
    _intent("shock", "safety", "electric shock from the {thing}", "call you about safety at once",
        "I got an electric shock from {product}|{product} gave my child a shock"
        "|touching {product} tingles, is the current leaking"),
    _intent("injury", "safety", "injury by the {thing}", "call you about safety at once",
        "I burned my hand on {product}|{product} cut my finger|my son got hurt by {product}"),
    _intent("praise", "opinion", "praise for the {thing}", "pass your kind words on",
        "I just want to say how happy I am with {product}|{product} is the best thing I ever bought, thank you"
        "|your colleague helped me so well with {product}, please tell the team"),
    _intent("rude_agent", "opinion", "complaint about an agent", "talk to the team",
        "your agent was rude to me when I called about {product}|nobody answers my mails about {product}"
        "|I waited an hour on the phone because of {product} and was cut off"),
    _intent("review", "opinion", "review of the {thing}", "look at the review",
        "my review of {product} was removed from your page|how can I write a review about {product}"
        "|I want to give {product} five stars in a review but there is no form"),
)  # fmt: skip
TOPICS = tuple(dict.fromkeys(intent.topic for intent in INTENTS))
