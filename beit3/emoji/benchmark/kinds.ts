/** Kinds of things that questions and sentences speak of, such as `a bird`, and which emoji are surely of them. */

export interface Kind {
  /** As it stands in `is this ...?`. */
  readonly noun: string;
  readonly subgroups: readonly string[];
  /** Labels in these subgroups that are something else. */
  readonly except?: readonly string[];
  /** Words that an emoji of other subgroups must not have in its label or tags to be surely none of this kind. */
  readonly words: readonly string[];
  /** Other subgroups whose emoji are neither surely of this kind nor surely not. */
  readonly unsure?: readonly string[];
}

const FACES = [
  'smiling',
  'affectionate',
  'with tongue',
  'with hands',
  'neutral / skeptical',
  'sleepy',
  'unwell',
  'with hats',
  'with glasses',
  'concerned',
  'negative',
];
const HANDS = ['fingers open', 'hand signs', 'finger pointing', 'fingers closed', 'hands'];
const PEOPLE = ['people', 'gestures', 'roles & careers', 'activities', 'athletics', 'resting'];
const LIKE_PEOPLE = ['fantasy', 'family', 'people symbols', 'body parts', 'hand props', 'costumed & creatures'];

export const KINDS: readonly Kind[] = [
  {
    noun: 'an animal',
    subgroups: ['mammals', 'birds', 'amphibians', 'reptiles', 'marine life', 'bugs', 'cat faces', 'monkey faces'],
    except: ['feather', 'wing', 'paw prints', 'pig nose', 'spiral shell', 'coral', 'spider web', 'microbe'],
    words: ['animal', 'animals', 'bug', 'bird', 'fish', 'horse', 'bear', 'dragon', 'shrimp'],
    unsure: ['zodiac signs', 'costumed & creatures', 'fantasy'],
  },
  { noun: 'a bird', subgroups: ['birds'], except: ['feather', 'wing'], words: ['bird', 'birds', 'chicken', 'turkey'] },
  {
    noun: 'a bug',
    subgroups: ['bugs'],
    except: ['spider web', 'microbe'],
    words: ['bug', 'bugs', 'insect', 'spider', 'worm', 'fly'],
  },
  {
    noun: 'a flower',
    subgroups: ['flowers'],
    words: ['flower', 'flowers', 'blossom', 'rose', 'lotus'],
    unsure: ['other plants'],
  },
  {
    noun: 'a plant',
    subgroups: ['flowers', 'other plants'],
    except: ['empty nest', 'nest with eggs'],
    words: ['plant', 'flower', 'flowers', 'tree', 'leaf', 'wood', 'bamboo', 'pine', 'blossom', 'clover', 'lotus'],
    unsure: ['fruit', 'vegetables'],
  },
  {
    noun: 'food',
    subgroups: ['fruit', 'vegetables', 'cooked / prepared', 'asian', 'sweets & candy'],
    words: ['food', 'fruit', 'vegetable', 'eat', 'eating', 'cook', 'drink', 'meal', 'dinner', 'restaurant', 'fish'],
    unsure: ['drink', 'dishware', 'marine life', 'other plants'],
  },
  { noun: 'a fruit', subgroups: ['fruit'], words: ['fruit', 'fruits', 'apple'], unsure: ['vegetables'] },
  {
    noun: 'a vegetable',
    subgroups: ['vegetables'],
    except: ['peanuts', 'chestnut', 'ginger root'],
    words: ['vegetable', 'vegetables', 'salad', 'tomato', 'potato', 'mushroom', 'corn', 'pepper'],
    unsure: ['fruit', 'other plants'],
  },
  {
    noun: 'a drink',
    subgroups: ['drink'],
    except: ['ice', 'teapot', 'pouring liquid'],
    words: ['drink', 'drinks', 'drinking', 'water', 'beverage', 'tea', 'coffee', 'milk', 'juice', 'beer', 'wine'],
    unsure: ['fruit'],
  },
  {
    noun: 'a sweet',
    subgroups: ['sweets & candy'],
    words: ['sweet', 'sweets', 'dessert', 'candy', 'sugar', 'cake', 'honey', 'chocolate', 'ice'],
    unsure: ['fruit'],
  },
  {
    noun: 'a face',
    subgroups: FACES,
    except: ['skull', 'skull and crossbones'],
    words: ['face', 'faces', 'smile', 'eyes', 'mouth', 'head'],
    unsure: [...PEOPLE, ...LIKE_PEOPLE, 'cat faces', 'monkey faces'],
  },
  { noun: 'a heart', subgroups: ['hearts'], words: ['heart', 'hearts', 'love'], unsure: ['affectionate', 'family'] },
  {
    noun: 'a hand',
    subgroups: HANDS,
    words: ['hand', 'hands', 'finger', 'fingers', 'fist', 'palm', 'thumb', 'arm', 'wave'],
    unsure: [...PEOPLE, ...LIKE_PEOPLE, 'with hands'],
  },
  {
    noun: 'a person',
    subgroups: PEOPLE,
    except: ['horse racing'],
    words: ['person', 'people', 'man', 'men', 'woman', 'women', 'boy', 'girl', 'child', 'baby', 'adult', 'human'],
    unsure: [...LIKE_PEOPLE, ...FACES, 'sports', 'transport signs', 'warning symbols'],
  },
  {
    noun: 'a flag',
    subgroups: ['country flags', 'other flags', 'subdivision flags'],
    words: ['flag', 'flags'],
  },
  {
    noun: 'a building',
    subgroups: ['buildings', 'religious buildings'],
    except: ['building construction', 'brick', 'rock', 'wood', 'wedding', 'Statue of Liberty', 'kaaba'],
    words: ['building', 'buildings', 'house', 'home', 'castle', 'tower', 'city', 'tent', 'temple', 'station'],
    unsure: ['other places'],
  },
  {
    noun: 'a vehicle',
    subgroups: ['ground transportation', 'water transportation', 'air transportation'],
    except: [
      ...['station', 'bus stop', 'motorway', 'railway track', 'oil drum', 'fuel pump', 'wheel', 'police car light'],
      ...['horizontal traffic light', 'vertical traffic light', 'stop sign', 'construction', 'anchor', 'ring buoy'],
      ...['parachute', 'seat', 'satellite', 'skateboard', 'roller skate'],
    ],
    words: ['vehicle', 'car', 'bike', 'bicycle', 'boat', 'ship', 'train', 'cart', 'sled', 'wheelchair', 'traffic'],
    unsure: ['athletics'],
  },
  {
    noun: 'a clock',
    subgroups: ['time'],
    except: ['hourglass done', 'hourglass not done'],
    words: ['clock', 'time', 'watch', 'hour'],
  },
  {
    noun: 'a musical instrument',
    subgroups: ['musical instruments'],
    words: ['instrument', 'music', 'horn', 'bell'],
    unsure: ['music', 'sound'],
  },
  {
    noun: 'something to wear',
    subgroups: ['clothing'],
    except: ['folding hand fan', 'hair pick', 'lipstick', 'gem stone', 'shopping bags', 'purse', 'handbag'],
    words: ['clothing', 'clothes', 'shoe', 'hat', 'shirt', 'dress', 'uniform', 'helmet', 'mask', 'glove', 'skate'],
    unsure: [...PEOPLE, ...LIKE_PEOPLE, ...FACES, 'sports', 'award medals'],
  },
  {
    noun: 'an arrow',
    subgroups: ['arrows'],
    words: ['arrow', 'arrows', 'direction', 'triangle'],
    unsure: ['audio & video symbols'],
  },
  { noun: 'a zodiac sign', subgroups: ['zodiac signs'], words: ['zodiac', 'aries', 'horoscope'] },
  {
    noun: 'a geometric shape',
    subgroups: ['shapes & colors'],
    words: ['geometric', 'circle', 'square', 'diamond', 'triangle', 'shape', 'round', 'button'],
    unsure: ['other symbols', 'math symbols', 'keypad characters'],
  },
];
