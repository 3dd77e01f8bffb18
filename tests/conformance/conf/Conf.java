import com.typesafe.config.ConfigFactory;
import com.typesafe.config.ConfigList;
import com.typesafe.config.ConfigObject;
import com.typesafe.config.ConfigParseOptions;
import com.typesafe.config.ConfigValue;
import java.io.File;

/** Conf FILE…: prints for each file one line of JSON: what Lightbend's library reads in it, with the type of each value. */
public class Conf {
  public static void main(String[] files) {
    ConfigParseOptions strict = ConfigParseOptions.defaults().setAllowMissing(false);
    for (String file : files) {
      StringBuilder line = new StringBuilder();
      try {
        write(ConfigFactory.parseFile(new File(file), strict).resolve().root(), line);
      } catch (Exception error) {
        line.setLength(0);
        quote("failed: " + error.getMessage(), line);
      }
      System.out.println(line);
    }
  }

  /** Objects and lists as they are; each other value as the object `{TYPE: "text"}`. */
  static void write(ConfigValue value, StringBuilder line) {
    String comma = "";
    if (value instanceof ConfigObject object) {
      line.append('{');
      for (var entry : object.entrySet()) {
        line.append(comma);
        quote(entry.getKey(), line);
        line.append(':');
        write(entry.getValue(), line);
        comma = ",";
      }
      line.append('}');
    } else if (value instanceof ConfigList list) {
      line.append('[');
      for (ConfigValue item : list) {
        line.append(comma);
        write(item, line);
        comma = ",";
      }
      line.append(']');
    } else {
      line.append('{');
      quote(value.valueType().name(), line);
      line.append(':');
      quote(String.valueOf(value.unwrapped()), line);
      line.append('}');
    }
  }

  static void quote(String text, StringBuilder line) {
    line.append('"');
    for (char letter : text.toCharArray()) {
      if (letter < 32 || letter > 126 || letter == '"' || letter == '\\') line.append(String.format("\\u%04x", (int) letter));
      else line.append(letter);
    }
    line.append('"');
  }
}
