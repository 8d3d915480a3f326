"""Tables of synthetic news: names of companies, people and things, and templates of sentences.

In a template ``[a|b]`` is a choice, and ``{slot}`` is filled in by `attnlab.datasets.news`.
"""


def items(text: str) -> list[str]:
    """The items of a list in one string, separated by commas."""
    return text.split(", ")


FIRST = items(
    "Harlow, Dunmore, Brackley, Calder, Ostrow, Pellworth, Varley, Quillan, Marchbank, Northfen, "
    "Kestrel, Lindquist, Ambrose, Fairbourne, Holloway, Trevanion, Penny Hill, Dollar Creek, "
    "Pound Lane, May and Sutter, Tessin, Averill, Corvane, Mayfield"
)
TRADES = items(
    "Mills, Petroleum, Foods, Steel, Bancorp, Electronics, Mining, Chemicals, Insurance, "
    "Shipping, Paper, Stores, Aerospace, Sugar, Breweries, Motors, Textiles, Rubber, Cement"
)
LEGAL = items("Inc, Corp, Co, plc, Ltd, AG, NV, Group, Holdings, and Co")
PEOPLE = items(
    "Ruth Calder, April Dawson, Augustus May, Peter Marsh, Helen Ostrander, June Whitlock, Tom "
    "Penny, Ingrid Solberg, Marcus Pound, Anil Deshmukh, Claire Fontenoy, Douglas Reeve"
)
BROKERS = items(
    "Brackley Securities, Holt and Marlow, Varley Fenn, Ostrow Brothers, Dunmore Capital"
)
CITIES = items(
    "London, New York, Frankfurt, Tokyo, Toronto, Chicago, Zurich, Sydney, Houston, Paris, "
    "Hamburg, Dublin"
)
METALS = items("Copper, Zinc, Lead, Nickel, Tin, Aluminium")
CROPS = items("wheat, maize, soybeans, sugar, coffee, rice")
CONTRACTS = items("March, May, July, September, December")
PERIODS = items("first quarter, second quarter, third quarter, fourth quarter, first half")
LAWS = items("section 403, section 13(d), rule 10b-5, rule 144, article 85, chapter 7")
OF_THEIR_TIME = {
    "then": {
        "plane": items(
            "Boeing 747, Boeing 737-300, Boeing 767, Airbus A310, Airbus A300-600, McDonnell "
            "Douglas MD-80"
        ),
        "act": items("1986 Tax Reform Act, 1974 Trade Act, 1934 Securities Exchange Act"),
        "expo": items("Expo 86, Expo 88"),
    },
    "now": {
        "plane": items(
            "Boeing 747, Boeing 737-800, Boeing 787-9, Airbus A320, Airbus A350-900, Embraer 190"
        ),
        "act": items("2017 Tax Cuts and Jobs Act, 1974 Trade Act, 2002 Sarbanes-Oxley Act"),
        "expo": items("Expo 2015, Expo 2020"),
    },
}

TEMPLATES: dict[str, tuple[str, ...]] = {
    "seen": (
        "{company} said [net profit|pre-tax profit|operating income] in the {quarter} rose "
        "{rise} to {sum} from {less}.",
        "{company} said [net profit|net income|revenue] fell {fall} to {sum} in the {quarter}, "
        "from {more} a year earlier.",
        "{company} said its loss for the year to {end} [narrowed|shrank] to {sum} from {more}.",
        "{company} [declared|said it would pay] a quarterly dividend of {cents} a share, payable "
        "{later} to holders of record {soon}.",
        "{company} agreed to buy {rival} for {big} in cash and expects to close the deal by "
        "{later}.",
        "{company} said it sold its {trade} unit to {rival} for {sum}.",
        "The board of {company} meets on {soon} to consider the offer from {rival}, worth {big}.",
        "{company} shares closed at {price}, up {pct}[ on the day| from Friday|].",
        "{company}, which filed for chapter 11 protection on {past}, owes its banks {sum}.",
        "Bids for the {tonnes} of {crop} must be in by {time} on {soon}, the trade ministry said.",
        "{airline} ordered {few} {plane} jets worth {big}, with the first due in {month}.",
        "The index of {dozens} leading shares gained {points} points to {index}[|, its highest "
        "since {past}].",
        "{company} holders will vote on {soon} on the sale of {count} shares at {price} each.",
        "[Coal|Steel|Cement] output rose to {tonnes} in {fiscal}, {pct} more than a year before, "
        "the ministry said.",
        "The central bank [left|kept] its key rate at {rate} and will meet again on {soon}.",
        "{company} will redeem {sum} of its {rate} notes due {far} on {soon}.",
        "{person} at {broker} [cut|raised] the profit forecast for {company} to {sum}.",
        "{company} said {count} shares, or {pct} of the total, had been tendered by {time} on "
        "{past}.",
        "{company} [climbed|eased] to {price} in Tokyo, while {contract} futures in Chicago were "
        "little changed.",
        "In a filing under {law}, {company} said it held {count} shares, or {pct}, of {rival}.",
        "{company} said its {year} accounts, on page {page}, understated debt by {sum}.",
        "The {act} added {sum} to costs at {company} in the {quarter}.",
        "{company} employs {staff} people at {few} plants and had sales of {big} in {year}.",
        "{airline} flight {number}, operated with one of its {plane} jets, landed safely at "
        "{time} with {dozens} people aboard.",
        "[The trade gap|The current account deficit|The budget deficit] [widened|grew] to {big} "
        "in the {quarter} from {sum}, official figures show.",
        "Analysts had expected earnings of {sum} from {company}, according to {broker}.",
        "{company} named {person} chief executive from {soon}.",
        "{person}, {age}, retires as chairman of {company} on {later} after {few} years.",
        "The strike at {company}, now in its third week, has cost {sum}, the union said.",
        "A court in {city} fined {company} {sum} for breaches of {law}.",
        "{maker} won a contract worth {sum} to supply seats for the {plane}, with delivery from "
        "{month}.",
        "{Metal} stocks fell {drop} tonnes to {stock} tonnes, the exchange said at {time}.",
        "{company} split its shares [two-for-one|three-for-two] effective {soon}.",
        "The treasury will auction {big} of {rate} bonds on {soon}, maturing {far}.",
        "The loan, signed on {past}, lets {company} draw up to {sum} until {far}.",
        "The benchmark bond was quoted at {bond} at {time}, to yield {rate}.",
        "{driller} found gas in block {block} and will drill a second well before {later}.",
        "Turnover was {count} shares, against {count} on Friday.",
        "{company} raised its bid for {rival} to {price} a share from {cheaper}, valuing it at "
        "{big}.",
        "The offer, which was to lapse at {time} on {past}, has been extended to {soon}.",
        "{company} will open a depot at {number} King Street in {month}, at a cost of {sum}.",
        "Since {past}, {company} has bought back {count} shares at an average of {price}.",
        "{company} reports {quarter} results on {soon}; {person} of {broker} expects revenue of "
        "{big}.",
        "{company} spent {sum} on research in {fiscal}, or {pct} of sales.",
        "{city}-based {company} raised {sum} from investors led by {rival}.",
        "The hearing resumes at {time} on {soon} in room {number}.",
        "{company} said the plant had met the ISO 9001 standard {few} weeks early.",
        "{airline} has sold {count} tickets since {lastmonth} and cut fares by {pct}.",
    ),
    "unseen": (
        "Net loss for the [three|six|nine] months to {end} was {sum}, {company} told the exchange.",
        "[Shareholders|Investors] in {company} have until {soon} to accept {price} for each of "
        "their {count} shares.",
        "Of the {sum} that {company} borrowed in {lastmonth}, {less} has been repaid.",
        "A fire on {past} at one of the warehouses of {company} caused damage of {sum} and "
        "destroyed {tonnes} of {crop}.",
        "Payments of {sum} fall due on {soon} and again on {later}, {person} told reporters.",
        "Buyers offered {price} for {company} in late trade, {pct} above the close on {past}.",
        "From {soon}, the tariff on imported coal will be {price} a tonne instead of {cheaper}.",
        "The ministry put [storm|drought] damage at {big}, up from an estimate of {sum} given on "
        "{past}.",
        "Under article 86 of the treaty, the commission may fine {company} up to {pct} of its "
        "turnover, or {sum}.",
        "Trading in {company}, suspended since {past}, resumes at {time} today.",
        "Coal for delivery in three months ended at {price} a tonne after {tonnes} changed hands.",
        "Asked about the {expo} site, {person} said {sum} had been set aside in {year}.",
        "The {plane} fleet of {airline} carried {count} passengers, {pct} more than in {fiscal}.",
        "{person} sold {count} shares at {price} on {past}, a form 4 filing shows.",
        "What {company} paid for {rival}, {big}, will be written off by {far}.",
        "Page {page} of the prospectus, dated {past}, lists loans of {less} from {broker}.",
        "The merger of {company} and {rival}, first announced in {lastmonth}, was called off on "
        "{past}.",
        "By {time} the index had lost {points} points, or {pct}, to stand at {index}.",
        "The {rate} debentures, callable from {far}, were priced to raise {sum}.",
        "Talks between {airline} and its {staff} pilots broke down on {past} over {sum} in back "
        "pay.",
        "{contract} slipped {points} points on forecasts that {tonnes} would reach the market.",
        "Lawyers for both sides meet in {city} on {soon} to settle a claim for {sum}.",
        "Release 3.1 of the software, which costs {price} a copy, ships in {month}, {company} "
        "said.",
        "Two of the {few} directors, {person} among them, will stand down on {later}.",
        "Well {block} flowed at {count} cubic feet a day, said {driller}, which has {few} more "
        "to test.",
    ),
}
