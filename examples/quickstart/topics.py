"""The quickstart's material: topics, each with three short facts, written for this example.

The topic's word stands in every fact, as a whole word or with an ending, because the reward asks for it.
"""

TRAIN: dict[str, tuple[str, str, str]] = {
    "bread": (
        "Warm bread smells good because its crust turns brown and sweet in the oven",
        "Most bread needs only flour, water, salt and a little yeast",
        "Old bread makes fine toast, and toast makes a fine breakfast",
    ),
    "rain": (
        "Rain fills rivers and lakes and lets the gardens grow",
        "A short rain in summer can cool a whole city",
        "Rain falls when the drops in a cloud become too heavy to float",
    ),
    "trains": (
        "Trains carry many people at once and leave the roads quiet",
        "Fast trains cross a country in the time of a long lunch",
        "From trains you see the backs of houses and the middle of fields",
    ),
    "honey": (
        "Honey keeps for years because very little can live in it",
        "Bees make honey from the nectar of thousands of flowers",
        "A spoon of honey makes a cup of tea softer and sweeter",
    ),
    "libraries": (
        "Libraries lend books to everyone, rich or poor, young or old",
        "In libraries you find quiet tables and people who know where things are",
        "Many libraries also lend music, films and even garden tools",
    ),
    "owls": (
        "Owls fly almost without a sound and hear a mouse under snow",
        "Most owls sleep by day and hunt when the light is gone",
        "Owls can turn their heads far enough to look behind them",
    ),
    "bicycles": (
        "Bicycles need no fuel but breakfast and take little room to park",
        "On bicycles you meet the wind, the smells and the people of a town",
        "Bicycles stay upright more easily the faster their wheels turn",
    ),
    "soup": (
        "Soup turns a few vegetables and some water into a warm meal",
        "A pot of soup often tastes better on the second day",
        "People in cold places cook soup to warm hands and hearts",
    ),
    "mountains": (
        "Mountains rise where plates of rock press slowly against each other",
        "On high mountains the air is thin and the views are wide",
        "Snow on mountains melts in spring and feeds the rivers below",
    ),
    "chess": (
        "Chess teaches players to think ahead and to lose with grace",
        "A game of chess can last five minutes or five hours",
        "In chess even a small pawn may become a queen",
    ),
    "coffee": (
        "Coffee beans are the roasted seeds of a red fruit",
        "A cup of coffee in the morning wakes many people gently",
        "Friends often meet for coffee and stay for the talk",
    ),
    "whales": (
        "Whales breathe air and must come up to the surface for it",
        "Some whales sing songs that carry through a whole sea",
        "Blue whales are the largest animals that we know of",
    ),
    "gardens": (
        "Gardens give food, flowers and a reason to go outside",
        "Small gardens on roofs keep houses cool in summer",
        "Gardens reward patience, since a seed takes weeks to show itself",
    ),
    "clocks": (
        "Clocks once told the time by sun, by water and by sand",
        "Good clocks lose less than a second in many years",
        "Tall clocks with a pendulum fill a room with a calm beat",
    ),
    "snow": (
        "Snow is made of small ice crystals, and hardly two are alike",
        "Fresh snow swallows sound, so a winter street is quiet",
        "Children like snow because a whole town becomes a playground",
    ),
    "guitars": (
        "Guitars have six strings as a rule and fit into small rooms",
        "With three chords on guitars you can play hundreds of songs",
        "The wood of guitars gives each of them a voice of its own",
    ),
    "apples": (
        "Apples keep well in a cool cellar until the spring",
        "There are thousands of kinds of apples, from sour to very sweet",
        "Apples float in water because a quarter of them is air",
    ),
    "bridges": (
        "Bridges join two shores and often two halves of a town",
        "Long bridges hang from steel ropes as thick as a tree",
        "Engineers test bridges for wind, for weight and for time",
    ),
    "tea": (
        "Tea comes from the leaves of one plant, green or black",
        "Hot water brings out the taste of tea in a few minutes",
        "In many homes a guest is offered tea before any question",
    ),
    "stars": (
        "Stars shine because hydrogen becomes helium deep inside them",
        "The light of far stars left them long before we were born",
        "Sailors used the stars to find their way home at night",
    ),
    "dogs": (
        "Dogs read our faces and know when we are sad",
        "Some dogs herd sheep, others guide people who cannot see",
        "A walk with dogs is good for both ends of the leash",
    ),
    "paper": (
        "Paper was first made from bark, rags and a lot of water",
        "A sheet of paper becomes strong when you fold it well",
        "Most old paper can be made into new paper several times",
    ),
    "rivers": (
        "Rivers begin as small springs and end in a sea or a lake",
        "Towns grew beside rivers because boats could reach them",
        "Clean rivers are full of fish, birds and swimming children",
    ),
    "cheese": (
        "Cheese is a clever way to keep milk through the winter",
        "Some cheese rests for years in a cave before it is sold",
        "The holes in cheese come from small bubbles of gas",
    ),
    "kites": (
        "Kites rise when the wind pushes under their slanted sails",
        "Children fly kites on beaches where the wind is steady",
        "Early scientists used kites to study clouds and lightning",
    ),
    "maps": (
        "Maps show a large place on a sheet that fits in a bag",
        "Old maps drew sea monsters where nobody had been yet",
        "Good maps leave out most things so that you see the way",
    ),
    "cats": (
        "Cats sleep more than half the day and hunt at dusk",
        "The soft paws of cats let them walk without a sound",
        "Cats purr when they feel safe, and sometimes to comfort themselves",
    ),
    "salt": (
        "Salt was once so rare that people paid with it",
        "A little salt makes sweet things taste even sweeter",
        "Salt melts ice on the roads because salty water freezes later",
    ),
    "pianos": (
        "Pianos have more than two hundred strings under their lids",
        "Each key of pianos moves a small hammer made of felt",
        "Pianos can whisper or thunder, depending on the hand",
    ),
    "forests": (
        "Forests clean the air and hold the soil on the hills",
        "In old forests the roots of trees share water and news",
        "A walk in forests slows the pulse and clears the head",
    ),
    "windmills": (
        "Windmills ground grain for bread long before there was steam",
        "Modern windmills turn a breeze into light for many homes",
        "Windmills stand on hills and coasts where the wind is strong",
    ),
    "penguins": (
        "Penguins cannot fly in the air but seem to fly under water",
        "Many penguins share the care of a single egg",
        "Penguins stand close together to keep each other warm",
    ),
    "puzzles": (
        "Puzzles train patience and an eye for small differences",
        "Families often do puzzles together on rainy Sundays",
        "Good puzzles look hard at first and simple at the end",
    ),
    "lemons": (
        "Lemons give juice for drinks and peel for cakes",
        "Sailors once ate lemons to stay healthy on long trips",
        "The sour taste of lemons wakes up soups, fish and salads",
    ),
    "lighthouses": (
        "Lighthouses warn ships of rocks with a turning light",
        "Each of the old lighthouses had a keeper who never slept through",
        "Lighthouses blink in patterns so that sailors can tell them apart",
    ),
    "turtles": (
        "Turtles carry their house with them and are never in a hurry",
        "Sea turtles return to the beach where they were born",
        "Some turtles live longer than the people who feed them",
    ),
}
"""Topics of the training split."""

TEST: dict[str, tuple[str, str, str]] = {
    "pottery": (
        "Pottery begins as wet clay and becomes hard in the fire",
        "Old pottery tells us what people cooked and how they lived",
        "On a turning wheel pottery grows between two calm hands",
    ),
    "volcanoes": (
        "Volcanoes open where hot rock finds a way up to the air",
        "The soil around volcanoes is rich, so farmers come back to it",
        "Scientists listen to volcanoes to warn the villages in time",
    ),
    "butterflies": (
        "Butterflies taste with their feet and drink with a long tongue",
        "Some butterflies travel across a whole continent every year",
        "Butterflies begin their lives as caterpillars that mostly eat",
    ),
    "castles": (
        "Castles had thick walls, deep wells and very cold rooms",
        "Many castles stand on hills so that guards could see far",
        "Today castles are visited for their towers and their stories",
    ),
    "noodles": (
        "Noodles are made of flour and water and cook in minutes",
        "Long noodles stand for a long life on many birthdays",
        "Noodles taste of the broth or the sauce that they meet",
    ),
    "elephants": (
        "Elephants greet old friends and remember them for years",
        "With their trunks elephants lift logs and pick up single berries",
        "Elephants cool themselves with large ears and muddy baths",
    ),
    "umbrellas": (
        "Umbrellas were carried against the sun before they met the rain",
        "Good umbrellas bend in the wind and do not break",
        "Umbrellas get lost on buses more than anything else",
    ),
    "museums": (
        "Museums keep old and rare things so that all can see them",
        "On rainy days museums fill with families and school classes",
        "Some museums let you touch, build and try things yourself",
    ),
    "rainbows": (
        "Rainbows appear when the sun shines on drops of water",
        "Each colour of rainbows leaves the drops at its own angle",
        "You see rainbows with the sun behind you and rain in front",
    ),
    "spiders": (
        "Spiders spin threads that are stronger than steel of their size",
        "Most spiders are harmless and eat the flies in our homes",
        "Garden spiders mend their webs every single night",
    ),
    "violins": (
        "Violins sing when a bow of horse hair strokes their strings",
        "The best violins are older than any of their players",
        "Violins are small, yet one of them can fill a hall",
    ),
    "islands": (
        "Islands have plants and birds that live nowhere else",
        "Small islands depend on boats for bread, letters and friends",
        "Some islands rise from the sea when a volcano grows",
    ),
}
"""Topics of the held-out split: none of them is trained on."""
