"""What a column's name says of it: phones for sure, phones perhaps, users, or something else. Pure.

A name is compared caseless, in plain forms and without marks (`fold_name`). Names that everybody uses are
known whole; of the others the word that stands last decides, as it does in both languages: an order's phone
(`order_phone`, 订单电话) is a phone, a phone's order number (`phone_order_no`, 手机订单号) is none.
"""

import re
import unicodedata

__all__ = ["fold_name", "looks_like_phone", "names_one_user", "names_phone", "names_user", "other_word"]

_KNOWN_NAMES = """
    phone phones phoneno phonenum phonenumber phonenumbers mobile mobiles mobileno mobilenum mobilenumber
    mobilephone mobilephonenumber tel telno telephone telephoneno telephonenumber cell cellphone
    cellphonenumber msisdn contactphone contactnumber customerphone
    手机 手机号 手机号码 手机电话 电话 电话号 电话号码 号码 联系电话 联系手机 联系号码 联系方式 联系人电话
    联系人手机 移动电话 客户电话 客户手机 客户手机号 客户手机号码 客户号码 用户手机 用户手机号 被叫 被叫号码
    手機 手機號 手機號碼 電話 電話號碼 號碼 聯絡電話
"""
_PHONE_NAMES = frozenset(_KNOWN_NAMES.split())
_USER = "(?:user|uid|用户|用戶|账号|帐号)"
_SEAT = "(?:坐席|座席|agent)"
_OF_A_USER = "(?:id号?|uuid|guid|code|no|编号|编码|标识)"
_BESIDE = rf"(?:{_SEAT}|{_OF_A_USER}|所属|归属|必填|选填|唯一)"
_USER_NAME = re.compile(rf"{_BESIDE}*(?:{_USER}|{_SEAT}{_OF_A_USER})(?:{_USER}|{_BESIDE})*")
"""What everybody calls a user's column; not a user's name or number, which may be a customer's."""
_SOME_ID = r"(?!(?:19|20)[0-9]{2}(?![0-9]))[a-z_-]*[0-9][\w-]*"
_ONE_USER = re.compile(
    rf"[\W_]*(?:{_USER}|{_SEAT})[ _-]?{_OF_A_USER}?"
    rf"(?:(?:\s*[:：]\s*|\s*= )[^\s:：=].*| +{_SOME_ID}.*"
    rf"|(?:(?<=[^\x00-\x7f])|(?<=[^\x00-\x7f] ))(?:[a-z]{{1,2}}|{_SOME_ID})(?:的.*|[\W_]*))",
    re.IGNORECASE,
)
"""A user's word with what may be an id, as a line of its own: `用户A:`, `# user_id: u2`, `用户 u2 的名单`."""
_NOT_IN_NAMES = dict.fromkeys(map(ord, " \t\r\n_-.*:#'\"()[]"))

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\da-zA-Z_]+")
_PHONE_WORD = re.compile(
    r"手机|手機|电话|電話|联系方式|聯絡方式|联系号|被叫|[a-z]*(?:phone|mobile|msisdn)[a-z]*|\b(?:tel|cell|mob)s?\b"
)
_OTHER_WORD = re.compile(
    # numbers of things
    r"订单|訂單|编号|編號|单号|單號|序号|序號|工号|学号|卡号|卡號|货号|税号|户号|流水|合同|发票|(?<!号)码|(?<!號)碼|代号|批次"
    r"|运单|快递|物流"
    r"|身份|证件|银行|账号|帐号|账户|帐户|车牌|邮编|微信|旺旺|会员号|设备"
    # dates, sums, words
    r"|传真|傳真|日期|时间|時間|生日|年龄|金额|金額|价格|单价|总价|合计|数量|积分|余额|版本"
    r"|姓名|名称|昵称|性别|公司|备注|備註|说明|地址|邮箱|型号|品牌|归属|类型|状态|推荐|介绍"
    r"|\b(?:order|invoice|account|amount|price|money|serial|wechat|weixin|contract|card|passport|birth|date"
    r"|time|qq|imei|imsi|iccid|email|mail|addr|zip|post|bank|fax|remark|note|comment|qty|quantity|created"
    r"|updated|referr|track|waybill|express|parcel|invit|verif)[a-z]*"
    r"|\b(?:sn|code|key|hash|md|sha|uuid|guid|age|sum|total|seq|index|row|ip|url|count|type|status)\b"
    r"|\b[a-z]*(?:id|name)s?\b|^no$"
)


def fold_name(name: str) -> str:
    """Return a column's name as names are compared: NFKC, caseless, without spaces, marks and punctuation."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_NOT_IN_NAMES)
    return "".join([char for char in plain if unicodedata.category(char) not in {"Cf", "Zs"}])


def names_phone(name: str) -> bool:
    """Tell whether a column is called what everybody calls a phone's column."""
    return fold_name(name) in _PHONE_NAMES


def names_user(name: str) -> bool:
    """Tell whether a column is called what everybody calls a user's column."""
    return _USER_NAME.fullmatch(fold_name(name)) is not None


def names_one_user(text: str) -> bool:
    """Tell whether a line of words names one user: whose the numbers below it are, or so it seems."""
    return _ONE_USER.fullmatch(text) is not None


def looks_like_phone(name: str) -> bool:
    """Tell whether a name, though not one that everybody uses, speaks of phones (`紧急联系电话`)."""
    return names_phone(name) or _last(_PHONE_WORD, name) > _last(_OTHER_WORD, name)


def other_word(name: str) -> str:
    """Return the word by which a name says that something other than phones stands here, or nothing."""
    if looks_like_phone(name):
        return ""
    found = [match[0] for match in _OTHER_WORD.finditer(_spaced(name))]
    return found[-1] if found else ""


def _last(words: re.Pattern[str], name: str) -> int:
    """Return where the last of these words ends in a name; -1 where none stands there."""
    return max((match.end() for match in words.finditer(_spaced(name))), default=-1)


def _spaced(name: str) -> str:
    """Return a name in plain small letters, its words apart: `orderPhone_2` is `order phone`."""
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", name))).casefold()
