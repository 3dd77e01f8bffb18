import java.io.IOException;
import java.net.Socket;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Like client.py: opens connections until one fails, holds all of them, and prints their number. */
class Client {
    public static void main(String[] arguments) throws Exception {
        int most = Integer.parseInt(arguments[1]);
        List<String> destinations = Arrays.asList(arguments).subList(2, arguments.length);
        List<List<String>> rows = new ArrayList<>();
        if (arguments[0].equals("turns")) {
            rows.add(new ArrayList<>(destinations));
        } else {
            destinations.forEach(one -> rows.add(new ArrayList<>(List.of(one))));
        }
        List<Socket> held = new ArrayList<>();
        for (List<String> row : rows) {
            for (int count = 0; count < most; count++) {
                for (String destination : List.copyOf(row)) {
                    int colon = destination.lastIndexOf(':');
                    try {
                        held.add(new Socket(
                                destination.substring(0, colon), Integer.parseInt(destination.substring(colon + 1))));
                    } catch (IOException nothingFree) {
                        row.remove(destination);
                    }
                }
            }
        }
        System.out.println("{\"held\": " + held.size() + "}");
    }
}
